"""POST /v1/select: a file of somebody's own scores, through the real application and a real child process."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask import Flask
from flask.testing import FlaskClient

from alaas import selection_process
from alaas.selections import SelectAnswer
from api.parts import EXTENSION
from strategies import Pool, get_strategy
from tests.support.pool_files import a_heavy_pool, a_pool, form, npz, part, probabilities

FORM = "multipart/form-data; boundary=b"
ENTROPY: dict[str, Any] = {"strategy": "EntropySampling", "budget": 3}


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    settings["api"]["max_select_bytes"] = 64 * 1024 * 1024
    return settings


def ask(client: FlaskClient, file: bytes, headers: dict[str, str] | None = None, **request: Any) -> Any:
    body = form(file, **request)
    return client.post("/v1/select", data=body, content_type=FORM, headers=headers, buffered=True)


def refused(client: FlaskClient, file: bytes, **request: Any) -> tuple[int, str, str]:
    answer = ask(client, file, **(ENTROPY | request))
    assert answer.mimetype == "application/problem+json", answer.text
    problem = answer.get_json()
    return answer.status_code, problem.get("field"), problem["detail"]


def leftovers() -> list[psutil.Process]:
    """Selecting processes of this one that still live."""
    return [child for child in psutil.Process().children() if "api.selecting" in child.cmdline()]


def test_it_chooses_what_the_library_chooses(client: FlaskClient) -> None:
    answer = ask(client, a_pool(), strategy={"type": "EntropySampling"}, budget=5, seed=7)
    assert answer.status_code == 200, answer.text
    got = SelectAnswer.model_validate_json(answer.data)
    ids = [f"s{number}" for number in range(20)]
    expected = get_strategy("EntropySampling").select(Pool(ids, {"probabilities": probabilities(20)}, 7), 5)
    assert got.ids == [ids[index] for index in expected.indices]
    assert got.scores == expected.scores.tolist()
    assert [pick.rank for pick in got.selected] == [1, 2, 3, 4, 5]
    assert (got.pool, got.budget, got.seed, got.warnings) == (20, 5, 7, [])
    assert got.strategy == {"type": "EntropySampling"}


def test_a_policy_is_kept_and_every_pick_explained(client: FlaskClient) -> None:
    embeddings = np.array([[0.0], [1.0], [10.0], [11.0], [20.0]])
    file = npz(
        ids=np.array(list("abcde")), embeddings=embeddings, sources=np.array(list("xxyyz")),
        labelled_embeddings=np.array([[0.0]]),
    )  # fmt: skip
    policy = {"max_per_source": 1, "exclude": ["d"], "random_share": 0.0}
    answer = ask(client, file, strategy="KCenterSampling", budget=4, policy=policy)
    got = SelectAnswer.model_validate_json(answer.data)
    assert got.ids == ["e", "c", "b"]
    assert [pick.nearest.id for pick in got.selected if pick.nearest] == ["0", "0", "0"]
    assert sum(pick.stands_for or 0 for pick in got.selected) == 5
    assert got.policy["max_per_source"] == 1
    assert got.warnings[0].startswith("the policy left 3 samples instead of 4")


def test_parquet_gives_the_same_answer_as_npz(client: FlaskClient) -> None:
    file = io.BytesIO()
    columns = {f"probabilities_{k}": values for k, values in enumerate(probabilities(20).T)}
    pq.write_table(pa.table({"id": [f"s{number}" for number in range(20)], **columns}), file)
    assert ask(client, file.getvalue(), **ENTROPY).data == ask(client, a_pool(), **ENTROPY).data


def test_a_request_that_names_no_strategy_gets_the_configurations(client: FlaskClient) -> None:
    assert ask(client, a_pool(), budget=1).get_json()["strategy"] == {"type": "LeastConfidence"}


def test_a_budget_above_the_pool_gives_all_of_it_with_a_warning(client: FlaskClient) -> None:
    answer = ask(client, a_pool(4), **(ENTROPY | {"budget": 9})).get_json()
    assert len(answer["selected"]) == 4
    assert answer["warnings"] == ["the budget is 9, and the file holds 4 samples"]


def test_an_empty_pool_gives_an_empty_selection(client: FlaskClient) -> None:
    file = npz(ids=np.array([], dtype=str), probabilities=np.empty((0, 2)))
    answer = ask(client, file, **ENTROPY).get_json()
    assert (answer["pool"], answer["selected"]) == (0, [])


@pytest.mark.parametrize(
    ("request_", "field", "word"),
    [
        ({"budget": 0}, "budget", "greater than or equal to 1"),
        ({"budget": "3"}, "budget", "integer"),
        ({"budget": None}, "budget", "integer"),
        ({"seed": -1}, "seed", "greater"),
        ({"strategy": "EntropySamplin"}, "strategy", "'EntropySampling'"),
        ({"strategy": {"type": "EntropySampling", "beta": 1}}, "strategy.beta", "unknown parameter"),
        ({"budgt": 1}, "budgt", "'budget'"),
        ({"policy": {"random_share": 2.0}}, "policy.random_share", "less than or equal to 1"),
        ({"policy": {"max_per_source": 1}}, "sources", "source"),
        ({"strategy": "KCenterSampling"}, "embeddings", "needs embeddings, which the pool does not hold"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_named_as_for_a_job(
    client: FlaskClient, request_: dict[str, Any], field: str, word: str
) -> None:
    status, named, detail = refused(client, a_pool(), **request_)
    assert (status, named) == (422, field)
    assert word in detail


@pytest.mark.parametrize(
    ("file", "status", "field", "word"),
    [
        (npz(ids=np.arange(2), probabilities=np.full((2, 2), 0.4)), 422, "probabilities", "rows 0, 1 (2 in all)"),
        (npz(ids=np.array(["a"]), probs=np.ones((1, 1))), 422, "probs", "nearest known"),
        (b"", 422, "file", "empty"),
        (b"not a pool", 422, "file", "neither NPZ nor Parquet"),
        (a_pool()[:-40], 422, "file", "damaged"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_a_problem_that_names_array_and_rows(
    client: FlaskClient, file: bytes, status: int, field: str, word: str
) -> None:
    answered, named, detail = refused(client, file)
    assert (answered, named) == (status, field)
    assert word in detail


def test_a_pool_above_max_pool_is_too_large(settings: dict[str, Any], request: pytest.FixtureRequest) -> None:
    settings["api"]["max_pool"] = 10
    assert refused(request.getfixturevalue("client"), a_pool(11))[:2] == (413, "ids")


def test_a_file_over_its_cap_is_too_large(settings: dict[str, Any], request: pytest.FixtureRequest) -> None:
    settings["api"]["max_select_bytes"] = 2048
    client = request.getfixturevalue("client")
    assert refused(client, b"PK\x03\x04" + bytes(2045))[:2] == (413, "file")
    assert refused(client, bytes(5_000_000))[0] == 413


def test_a_bomb_takes_neither_the_memory_nor_the_server(
    settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    settings["api"]["select_memory_bytes"] = 256 * 1024 * 1024
    client = request.getfixturevalue("client")
    file = io.BytesIO()
    np.savez_compressed(file, ids=np.arange(100), embeddings=np.zeros((100, 200_000)))
    assert len(file.getvalue()) < 1_000_000
    status, field, detail = refused(client, file.getvalue())
    assert (status, field) == (413, "file") and "unpacks to" in detail
    assert client.get("/healthz").status_code == 200


def test_a_selection_over_its_time_is_killed_and_told(settings: dict[str, Any], request: pytest.FixtureRequest) -> None:
    settings["api"]["select_timeout_s"] = 4.0
    client = request.getfixturevalue("client")
    started = time.monotonic()
    answer = ask(client, a_heavy_pool(), strategy="KCenterSampling", budget=30_000)
    assert answer.status_code == 422, answer.text
    assert answer.get_json()["code"] == "selection_failed" and "longer than 4 s" in answer.get_json()["detail"]
    assert time.monotonic() - started < 15
    assert leftovers() == []


def test_a_selection_that_crashes_is_told_and_the_server_goes_on(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection_process, "PROGRAM", "tests.support.crashing_program")
    answer = ask(client, a_pool(), **ENTROPY)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "selection_failed")
    assert "SIGABRT" in answer.get_json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_a_server_that_stops_ends_the_selection(app: Flask, client: FlaskClient) -> None:
    app.extensions[EXTENSION].stopping.set()
    answer = ask(client, a_heavy_pool(5000), strategy="KCenterSampling", budget=5000)
    assert answer.status_code == 503
    assert leftovers() == []


def test_above_max_selections_is_429_and_the_place_comes_back(app: Flask, client: FlaskClient) -> None:
    own = app.extensions[EXTENSION]
    held = [own.selections.take() for _ in range(own.config.api.max_selections)]
    answer = ask(client, a_pool(), **ENTROPY)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
    held[0]()
    for _ in range(3):
        assert ask(client, b"nothing", **ENTROPY).status_code == 422
    assert ask(client, a_pool(), **ENTROPY).status_code == 200


def test_nothing_is_left_on_disk(client: FlaskClient, settings: dict[str, Any]) -> None:
    folder = Path(settings["storage"]["data_dir"])
    before = sorted(folder.rglob("*"))
    open_before = len(os.listdir("/proc/self/fd"))
    for file in (a_pool(), b"nothing", npz(ids=np.array(["a", "a"]))):
        ask(client, file, **ENTROPY).close()
    assert sorted(folder.rglob("*")) == before
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_data_dir_that_cannot_be_written_is_503_without_its_path(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    answer = ask(client, a_pool(), **ENTROPY)
    assert answer.status_code == 503 and "is full" in answer.get_json()["detail"]
    assert "secret" not in answer.text


def raw(client: FlaskClient, body: bytes) -> tuple[int, Any]:
    answer = client.post("/v1/select", data=body, content_type=FORM, buffered=True)
    return answer.status_code, answer.get_json().get("field")


REQUEST = json.dumps(ENTROPY).encode()


def test_the_parts_may_come_in_any_order_and_the_request_from_a_file(client: FlaskClient) -> None:
    body = part("file", a_pool(), '; filename="p.npz"') + part("request", REQUEST, '; filename="r.json"') + b"--b--"
    assert raw(client, body)[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (part("file", a_pool()) + b"--b--", 422, "request"),
        (part("request", REQUEST) + b"--b--", 422, "file"),
        (part("request", REQUEST) * 2 + part("file", a_pool()) + b"--b--", 422, "request"),
        (part("request", REQUEST) + part("fil", a_pool()) + b"--b--", 422, "fil"),
        (part("request", b'{"budget": ') + part("file", a_pool()) + b"--b--", 400, None),
        (part("request", b"[]") + part("file", a_pool()) + b"--b--", 400, None),
        (part("request", b"\xff") + part("file", a_pool()) + b"--b--", 400, None),
        (part("request", b"[" * 100_000) + part("file", a_pool()) + b"--b--", 413, "request"),
        (part("request", REQUEST) + part("file", a_pool()), 400, None),
        (b"", 422, "request"),
        (b"--b--", 422, "request"),
        (b"\x00" * 1000, 400, None),
        (b"--b\r\n" + b"X" * 1_000_000, 400, None),
        (b"--b\r\n\r\nnameless\r\n--b--", 400, None),
        (b'--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--', 422, None),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(client: FlaskClient, body: bytes, status: int, field: str | None) -> None:
    assert raw(client, body) == (status, field)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 71])
def test_a_form_without_a_boundary_is_malformed(client: FlaskClient, kind: str) -> None:
    assert client.post("/v1/select", data=b"--b--", content_type=kind).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused(client: FlaskClient, kind: str) -> None:
    assert client.post("/v1/select", data=b"{}", content_type=kind).status_code == 415


def test_a_key_gives_the_same_answer_once_and_refuses_another_request(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "k"}
    first = ask(client, a_pool(), key, **ENTROPY)
    assert first.status_code == 200
    monkeypatch.setattr(selection_process, "PROGRAM", "no_such_program")
    again = ask(client, a_pool(), key, **ENTROPY)
    assert (again.status_code, again.data, again.headers["Idempotent-Replayed"]) == (200, first.data, "true")
    assert ask(client, a_pool(21), key, **ENTROPY).status_code == 409


def test_a_long_answer_under_a_key_is_made_again(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.selections.MAX_KEPT_BYTES", 10)
    key = {"Idempotency-Key": "k"}
    first, again = (ask(client, a_pool(), key, **ENTROPY) for _ in range(2))
    assert first.data == again.data and first.status_code == again.status_code == 200
    assert ask(client, a_pool(21), key, **ENTROPY).status_code == 409


def test_it_takes_a_token_where_tokens_are(with_tokens: dict[str, dict[str, str]], client: FlaskClient) -> None:
    assert ask(client, a_pool(), **ENTROPY).status_code == 401
    assert ask(client, a_pool(), with_tokens["ann"], **ENTROPY).status_code == 200


def test_a_page_of_another_site_may_not_select(client: FlaskClient) -> None:
    assert ask(client, a_pool(), {"Origin": "http://evil.example"}, **ENTROPY).status_code == 403


def test_the_description_shows_the_form(client: FlaskClient) -> None:
    described = client.get("/openapi.json").get_json()
    content = described["paths"]["/v1/select"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert content["schema"]["properties"]["request"] == {"$ref": "#/components/schemas/SelectRequest"}
    assert set(content["schema"]["required"]) == {"request", "file"}


def test_it_is_counted_like_every_route(client: FlaskClient) -> None:
    ask(client, a_pool(), **ENTROPY)
    counted = [line for line in client.get("/metrics").text.splitlines() if 'route="/v1/select"' in line]
    assert any('status="200"' in line for line in counted)
