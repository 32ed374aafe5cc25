"""Who may ask: tokens and their owners; and without tokens, only this machine and no page of another site."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

Headers = dict[str, dict[str, str]]
QUERY = {"uris": ["file:///a", "file:///b"], "budget": 1}


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer nope", "Basic YW5uOng=", "Bearer ann-secret-toke", "Bearer \xe9"]
)
def test_no_token_or_a_wrong_one_is_unauthorized(with_tokens: Headers, client: FlaskClient, sent: str | None) -> None:
    answer = client.get("/v1/jobs", headers={} if sent is None else {"Authorization": sent})
    assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_body_is_not_looked_at_without_a_token(with_tokens: Headers, client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data=b"[" * 100, content_type="text/plain").status_code == 401


def test_the_token_tells_the_owner(with_tokens: Headers, client: FlaskClient) -> None:
    assert client.post("/v1/jobs", json=QUERY, headers=with_tokens["ann"]).get_json()["owner"] == "ann"
    assert client.post("/v1/jobs", json=QUERY, headers=with_tokens["bob"]).get_json()["owner"] == "bob"


def test_anothers_things_are_not_found(with_tokens: Headers, client: FlaskClient) -> None:
    ann, bob = with_tokens["ann"], with_tokens["bob"]
    job = client.post("/v1/jobs", json=QUERY, headers=ann).get_json()["id"]
    dataset = client.post("/v1/datasets", json={"name": "mine"}, headers=ann).get_json()["id"]
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/report", f"/v1/jobs/{job}/events", f"/v1/datasets/{dataset}"):
        assert client.get(path, headers=bob).status_code == 404, path
    assert client.post(f"/v1/jobs/{job}/cancel", headers=bob).status_code == 404
    assert client.post("/v1/jobs", json={"dataset_id": dataset, "budget": 1}, headers=bob).status_code == 404
    labels = {"labels": {"file:///a": "x"}}
    assert client.post(f"/v1/datasets/{dataset}/labels", json=labels, headers=bob).status_code == 404
    assert client.get("/v1/jobs", headers=bob).get_json()["items"] == []
    assert client.get("/v1/datasets", headers=bob).get_json()["items"] == []


def test_a_key_of_another_owner_is_another_key(with_tokens: Headers, client: FlaskClient) -> None:
    key = {"Idempotency-Key": "same"}
    ids = {client.post("/v1/jobs", json=QUERY, headers=with_tokens[who] | key).get_json()["id"] for who in with_tokens}
    assert len(ids) == 2


@pytest.mark.parametrize("path", ["/healthz", "/", "/page/app.js", "/page/style.css", "/openapi.json"])
def test_what_tells_nothing_needs_no_token(with_tokens: Headers, client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_readiness_is_told_to_all_and_its_reasons_to_owners(with_tokens: Headers, client: FlaskClient) -> None:
    stranger, owner = client.get("/readyz"), client.get("/readyz", headers=with_tokens["ann"])
    assert stranger.status_code == owner.status_code == 503
    assert {check["detail"] for check in stranger.get_json()["checks"].values()} == {""}
    assert owner.get_json()["checks"]["download"]["detail"] == "0 processes alive"


def test_metrics_need_a_token_where_there_are_tokens(with_tokens: Headers, client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=with_tokens["ann"]).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8888", "127.0.0.1:8888", "[::1]:8888", "127.0.0.2", "0.0.0.0:8888"]
)
def test_without_tokens_this_machines_names_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]", "a@localhost@b", "["]
)
def test_without_tokens_a_foreign_host_name_is_refused(client: FlaskClient, host: str) -> None:
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.mimetype) == (421, "application/problem+json")


def test_with_tokens_any_host_name_is_answered(with_tokens: Headers, client: FlaskClient) -> None:
    headers = with_tokens["ann"] | {"Host": "alaas.example.org"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost.evil.example"]
)
def test_a_page_of_another_site_may_not_write(client: FlaskClient, origin: str) -> None:
    answer = client.post("/v1/jobs", json=QUERY, headers={"Origin": origin, "Host": "localhost:8888"})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")


def test_our_own_page_may_write(client: FlaskClient) -> None:
    headers = {"Origin": "http://localhost:8888", "Host": "localhost:8888"}
    assert client.post("/v1/jobs", json=QUERY, headers=headers).status_code == 202


def test_every_answer_tells_browsers_to_keep_their_hands_off(client: FlaskClient) -> None:
    for path in ("/v1/jobs", "/nope"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers


def test_no_token_and_no_query_is_logged(
    with_tokens: Headers, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client.get("/v1/datasets?name=confidential", headers=with_tokens["ann"])
    client.get("/v1/datasets?name=confidential", headers={"Authorization": "Bearer wrong-secret"})
    assert "/v1/datasets 200" in caplog.text.replace("GET ", "")
    for secret in ("secret", "confidential"):
        assert secret not in caplog.text
