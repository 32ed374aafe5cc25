from __future__ import annotations

import httpx
import pytest

from alaas import Client, errors
from alaas.transport import ATTEMPTS, LONGEST_PAUSE_S, base_url, pause_s
from tests.unit.alaas.fake_server import FakeServer, problem


def _refuse() -> httpx.Response:
    raise httpx.ConnectError("refused")


def _hang() -> httpx.Response:
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:8888", "http://localhost:8888"),
        ("http://localhost:60035", "http://localhost:60035"),
        ("https://host/prefix", "https://host/prefix"),
        (" 127.0.0.1:1 ", "http://127.0.0.1:1"),
        ("[::1]:8888", "http://[::1]:8888"),
    ],
)
def test_an_address_may_leave_out_its_scheme(address: str, url: str) -> None:
    assert str(base_url(address)) == url


@pytest.mark.parametrize("address", ["", "ftp://host", "http://", "http://user:word@host", "host:port:port", None])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        Client(address)
    assert caught.value.field == "al_server_url"


def test_the_address_may_be_given_by_position_or_by_the_papers_name() -> None:
    with Client("http://a:1") as by_position, Client(al_server_url="a:1") as by_name, Client() as default:
        assert (by_position.url, by_name.url, default.url) == ("http://a:1", "http://a:1", "http://localhost:8888")


def test_a_post_is_tried_again_under_the_same_key(client: Client, server: FakeServer) -> None:
    server.faults = [_refuse, _hang]
    client.create_dataset("pool")
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 3 and len(set(keys)) == 1


def test_two_posts_have_two_keys(client: Client, server: FakeServer) -> None:
    client.create_dataset("pool")
    client.create_dataset("pool")
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 2


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "too_many_requests")])
def test_the_servers_retry_after_is_kept_to(
    client: Client, server: FakeServer, slept: list[float], status: int, code: str
) -> None:
    server.faults = [lambda: problem(status, code, "later", **{"retry-after": "7"})]
    client.create_dataset("pool")
    assert slept == [7.0]


def test_tries_are_bounded_and_the_last_error_is_raised(client: Client, server: FakeServer, slept: list[float]) -> None:
    server.faults = [_refuse] * 20
    with pytest.raises(errors.Unavailable, match="nobody answers at http://server:1"):
        client.create_dataset("pool")
    assert len(server.requests) == ATTEMPTS == len(slept) + 1


def test_a_refusal_is_not_tried_again(client: Client, server: FakeServer) -> None:
    server.faults = [lambda: problem(422, "invalid_request", "no such strategy", "strategy.type")]
    with pytest.raises(errors.InvalidRequest) as caught:
        client.create_dataset("pool")
    assert (caught.value.detail, caught.value.field) == ("no such strategy", "strategy.type")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", errors.Unauthorized),
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (413, "too_large", errors.TooLarge),
        (422, "model_error", errors.ModelError),
        (409, "job_failed", errors.JobFailed),
        (422, "a_code_of_tomorrow", errors.InvalidRequest),
        (418, "a_code_of_tomorrow", errors.AlaasError),
    ],
)
def test_a_problem_becomes_the_typed_error_of_its_code(
    client: Client, server: FakeServer, status: int, code: str, kind: type[errors.AlaasError]
) -> None:
    server.faults = [lambda: problem(status, code, "because")]
    with pytest.raises(errors.AlaasError, match="because") as caught:
        client.create_dataset("pool")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<h1>Jupyter</h1>"),
        httpx.Response(200, html="<h1>Jupyter</h1>"),
        httpx.Response(200, json={"id": 3}),
        httpx.Response(500, content=b"{", headers={"content-type": "application/problem+json"}),
    ],
)
def test_another_server_on_that_port_is_told_apart(client: Client, server: FakeServer, answer: httpx.Response) -> None:
    server.faults = [lambda: answer]
    with pytest.raises(errors.AlaasError, match="does not speak ALaaS's API"):
        client.create_dataset("pool")


def test_keys_of_a_newer_server_are_passed_over(client: Client, server: FakeServer) -> None:
    server.faults = [lambda: httpx.Response(200, json=server._dataset("x") | {"colour": "red"})]
    server.datasets["x"] = []
    assert client.create_dataset("x").name == "x"


def test_the_token_goes_as_a_bearer_token(server: FakeServer) -> None:
    with Client("server", token="word", transport=server.transport) as client:
        client.create_dataset("pool")
    assert server.requests[0].headers["authorization"] == "Bearer word"


def test_every_request_has_a_timeout(client: Client, server: FakeServer) -> None:
    client.create_dataset("pool")
    assert set(server.requests[0].extensions["timeout"].values()) == {30.0, 5.0}


def test_pauses_double_and_have_an_end() -> None:
    assert [pause_s(attempt, None, 0.5) for attempt in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert pause_s(50, None, 1.0) == LONGEST_PAUSE_S
    assert pause_s(1, 3600, 0.5) == LONGEST_PAUSE_S
