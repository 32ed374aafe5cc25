"""Every bad body and value of the issue, asked over HTTP: the right status and field, nothing of our inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

URIS = ["file:///a", "file:///b"]


def refused(client: FlaskClient, body: Any, status: int, field: str | None = None, path: str = "/v1/jobs") -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, data=data, content_type="application/json")
    problem = answer.get_json()
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert problem["status"] == status
    assert problem.get("field") == field
    assert "Traceback" not in answer.text
    return str(problem["detail"])


@pytest.mark.parametrize("budget", [0, -1, 1.5, "3", True, [1], 10**19])
def test_a_budget_that_is_no_positive_whole_number_is_refused(client: FlaskClient, budget: Any) -> None:
    refused(client, {"uris": URIS, "budget": budget}, 422, "budget")


def test_a_budget_above_the_pool_is_refused(client: FlaskClient) -> None:
    assert "2 unlabelled" in refused(client, {"uris": URIS, "budget": 3}, 422, "budget")


def test_a_query_without_a_budget_is_refused(client: FlaskClient) -> None:
    refused(client, {"uris": URIS}, 422, "budget")


def test_a_scan_with_a_budget_or_a_strategy_is_refused(client: FlaskClient) -> None:
    refused(client, {"kind": "scan", "uris": URIS, "budget": 1}, 422, "budget")
    refused(client, {"kind": "scan", "uris": URIS, "strategy": "RandomSampling"}, 422, "strategy")


def test_an_empty_pool_is_refused(client: FlaskClient) -> None:
    refused(client, {"uris": [], "budget": 1}, 422, "uris")
    dataset = client.post("/v1/datasets", json={"name": "empty"}).get_json()["id"]
    refused(client, {"dataset_id": dataset, "budget": 1}, 422, "dataset_id")


def test_a_pool_given_twice_or_not_at_all_is_refused(client: FlaskClient) -> None:
    refused(client, {"budget": 1}, 422, "dataset_id")
    refused(client, {"budget": 1, "uris": URIS, "dataset_id": "a" * 32}, 422, "dataset_id")


def test_a_dataset_that_is_not_there_is_not_found(client: FlaskClient) -> None:
    refused(client, {"dataset_id": "0" * 32, "budget": 1}, 404, "dataset_id")


def test_an_unknown_key_is_named_with_the_nearest_known_one(client: FlaskClient) -> None:
    assert "nearest known: 'budget'" in refused(client, {"uris": URIS, "bugdet": 1}, 422, "bugdet")


def test_an_unknown_strategy_is_named_with_the_nearest_known_one(client: FlaskClient) -> None:
    wrong = {"uris": URIS, "budget": 1, "strategy": "LeastConfident"}
    assert "nearest known: 'LeastConfidence'" in refused(client, wrong, 422, "strategy")


def test_an_unknown_parameter_of_a_strategy_is_named(client: FlaskClient) -> None:
    wrong = {"uris": URIS, "budget": 1, "strategy": {"type": "RandomSampling", "tempo": 3}}
    assert "tempo" in refused(client, wrong, 422, "strategy.tempo")


@pytest.mark.parametrize(
    ("strategy", "field"), [(5, "strategy"), ({}, "strategy.type"), ({"type": 3}, "strategy.type")]
)
def test_a_strategy_that_is_no_name_and_no_object_is_refused(client: FlaskClient, strategy: Any, field: str) -> None:
    refused(client, {"uris": URIS, "budget": 1, "strategy": strategy}, 422, field)


def test_an_unknown_model_is_named_with_the_nearest_known_one(client: FlaskClient) -> None:
    assert "nearest known: 'tiny'" in refused(client, {"uris": URIS, "budget": 1, "model": "tinny"}, 422, "model")


@pytest.mark.parametrize(
    "uri",
    ["gopher://host/a", "../relative", "simplecache::file:///etc/hostname", "http://me:secret@host/a", "", "x" * 5000],
)
def test_a_uri_that_no_source_could_read_is_named_by_its_place(client: FlaskClient, uri: str) -> None:
    detail = refused(client, {"uris": ["file:///a", uri], "budget": 1}, 422, "uris.1")
    assert "secret" not in detail


@pytest.mark.parametrize("uris", ["abc", {"0": "file:///a"}, 5, [["file:///a"]], [None]])
def test_uris_that_are_no_list_of_strings_are_refused(client: FlaskClient, uris: Any) -> None:
    refused(client, {"uris": uris, "budget": 1}, 422, "uris" if not isinstance(uris, list) else "uris.0")


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 2**63), ("deadline_s", 0), ("kind", "guess")])
def test_values_out_of_range_are_refused(client: FlaskClient, name: str, value: Any) -> None:
    refused(client, {"uris": URIS, "budget": 1, name: value}, 422, name)


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[" * 100_000, b'"text"', b"[]", b"null", b'{"budget": NaN}', b'{"budget": 1, "budget": 1}',
     b'{"uris": ["\xff"]}', b'{"uris": ["\\ud800"]}', 
     b'{"seed": ' + b"9" * 4000 + b"}",
     '{"budget": 1}'.encode("utf-16")],
)  # fmt: skip
def test_a_body_that_is_not_our_json_is_malformed(settings: dict[str, Any], body: bytes, request: Any) -> None:
    settings["api"]["max_body_bytes"] = 200_000
    refused(request.getfixturevalue("client"), body, 400)


def test_a_nul_in_any_string_is_refused(client: FlaskClient) -> None:
    refused(client, {"uris": ["file:///\0"], "budget": 1}, 422)
    refused(client, {"uris": URIS, "budget": 1, "strategy": {"type": "RandomSampling", "x": ["\0"]}}, 422)


def test_a_body_over_the_cap_is_too_large(client: FlaskClient) -> None:
    refused(client, {"uris": ["file:///" + "a" * 4000] * 3, "budget": 1}, 413)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_form_is_not_taken_for_json(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post("/v1/jobs", data=b'{"budget": 1}', content_type=content_type)
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")


def test_another_charset_or_a_compressed_body_is_not_taken(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data=b"{}", content_type="application/json; charset=latin-1").status_code == 415
    zipped = client.post("/v1/jobs", data=b"{}", content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert zipped.status_code == 415


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("after=nope", "after"),
     ("state=done", "state"),
     ("limits=3", "limits"), ("limit=1&limit=2", "limit"), ("after=" + "0" * 32, "after")],
)  # fmt: skip
def test_a_wrong_query_parameter_is_named(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%00", "/v1/jobs/..%2f..%2fetc", "/v1/jobs/" + "a" * 300, "/v1/jobs/%ff/report"]
)
def test_an_id_that_is_none_is_not_found(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/jobs/", "/v1//jobs", "/static/x"])
def test_an_unknown_route_is_a_problem_too(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_a_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    answer = client.delete("/v1/jobs")
    assert (answer.status_code, answer.mimetype) == (405, "application/problem+json")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_a_huge_wrong_value_is_not_sent_back(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"model": ["x" * 100] * 30, "budget": 1})
    assert answer.status_code == 422
    assert len(answer.data) < 500


def test_a_bug_of_ours_is_500_without_its_traceback(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from api import service

    monkeypatch.setattr(service, "strategy_names", lambda: 1 / 0)
    answer = client.get("/v1/strategies")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "internal")
    assert "division" not in answer.text
