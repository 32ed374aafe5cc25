"""Datasets over HTTP: found by name, filled by JSON and by streamed lines, labelled; keys honoured."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

NDJSON = "application/x-ndjson"


@pytest.fixture
def dataset(client: FlaskClient) -> str:
    return str(client.post("/v1/datasets", json={"name": "pool"}).get_json()["id"])


def send(client: FlaskClient, dataset: str, lines: bytes, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/v1/datasets/{dataset}/samples", data=lines, content_type=NDJSON, headers=headers)


def held(client: FlaskClient, dataset: str) -> int:
    return int(client.get(f"/v1/datasets/{dataset}").get_json()["samples"])


def test_a_name_makes_a_dataset_once(client: FlaskClient) -> None:
    first = client.post("/v1/datasets", json={"name": "pool", "uris": ["file:///a"]})
    again = client.post("/v1/datasets", json={"name": "pool", "tags": {"k": "v"}, "uris": ["file:///a", "file:///b"]})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.get_json()["id"] == first.get_json()["id"]
    assert (again.get_json()["samples"], again.get_json()["tags"]) == (2, {"k": "v"})
    assert client.get(first.headers["Location"]).get_json() == again.get_json()


def test_datasets_are_listed_by_page_and_found_by_name(client: FlaskClient) -> None:
    for name in ("a", "b", "c"):
        client.post("/v1/datasets", json={"name": name})
    page = client.get("/v1/datasets?limit=2").get_json()
    rest = client.get(f"/v1/datasets?limit=2&after={page['next']}").get_json()
    assert [item["name"] for item in page["items"] + rest["items"]] == ["a", "b", "c"]
    assert [item["name"] for item in client.get("/v1/datasets?name=b").get_json()["items"]] == ["b"]


def test_samples_come_as_json_or_as_lines(client: FlaskClient, dataset: str) -> None:
    path = f"/v1/datasets/{dataset}/samples"
    added = client.post(path, json={"uris": ["file:///a", "file:///b", "file:///a"]}).get_json()
    assert added == {"received": 3, "added": 2, "duplicates": 1}
    added = send(client, dataset, b'"file:///b"\n{"uri": "file:///c"}\n').get_json()
    assert added == {"received": 2, "added": 1, "duplicates": 1}
    page = client.get(f"{path}?limit=2").get_json()
    rest = client.get(f"{path}?after={page['next']}").get_json()
    assert [item["uri"] for item in page["items"] + rest["items"]] == ["file:///a", "file:///b", "file:///c"]


def test_lines_before_a_bad_one_are_kept_and_the_problem_says_how_many(client: FlaskClient, dataset: str) -> None:
    answer = send(client, dataset, b'"file:///a"\n"file:///b"\nnope\n"file:///c"\n')
    problem = answer.get_json()
    assert (answer.status_code, problem["field"]) == (400, "line 3")
    assert "2 new samples of the 2 before it were kept" in problem["detail"]
    assert held(client, dataset) == 2
    assert send(client, dataset, b'"file:///a"\n"file:///b"\n"file:///c"\n').get_json()["added"] == 1


def test_a_stream_longer_than_the_cap_of_other_bodies_is_taken(client: FlaskClient, dataset: str) -> None:
    lines = "".join(f'"file:///{number:06}"\n' for number in range(9000)).encode()
    assert len(lines) > 8192 * 10
    assert send(client, dataset, lines).get_json() == {"received": 9000, "added": 9000, "duplicates": 0}


def test_a_stream_that_breaks_off_keeps_what_came_before(client: FlaskClient, dataset: str) -> None:
    whole = b'"file:///a"\n"file:///b"\n"file:///c"\n'
    answer = client.post(
        f"/v1/datasets/{dataset}/samples",
        input_stream=io.BytesIO(whole[:20]),
        content_type=NDJSON,
        content_length=len(whole),
    )
    assert answer.status_code == 400
    assert held(client, dataset) == 1


def test_a_pool_above_its_limit_is_too_large(settings: dict[str, Any], request: Any) -> None:
    settings["api"]["max_pool"] = 2
    client = request.getfixturevalue("client")
    dataset = client.post("/v1/datasets", json={"name": "pool"}).get_json()["id"]
    assert send(client, dataset, b'"a"\n"b"\n"c"\n').status_code == 413


def test_the_body_of_an_unknown_dataset_is_not_read(client: FlaskClient) -> None:
    class Untouched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("read")

    answer = client.post(f"/v1/datasets/{'0' * 32}/samples", input_stream=Untouched(), content_type=NDJSON)
    assert answer.status_code == 404


def test_labels_go_by_id_or_uri_and_take_samples_out_of_the_pool(client: FlaskClient, dataset: str) -> None:
    path = f"/v1/datasets/{dataset}"
    client.post(f"{path}/samples", json={"uris": ["file:///a", "file:///b"]})
    first = client.get(f"{path}/samples").get_json()["items"][0]["id"]
    assert client.post(f"{path}/labels", json={"labels": {first: "cat", "file:///b": "dog"}}).get_json() == {
        "labelled": 2
    }
    labelled = client.get(f"{path}/samples?labelled=true").get_json()["items"]
    assert [(item["uri"], item["label"]) for item in labelled] == [("file:///a", "cat"), ("file:///b", "dog")]
    assert client.post("/v1/jobs", json={"dataset_id": dataset, "budget": 1}).status_code == 422


def test_a_label_of_an_unknown_sample_is_not_found(client: FlaskClient, dataset: str) -> None:
    answer = client.post(f"/v1/datasets/{dataset}/labels", json={"labels": {"file:///nope": "cat"}})
    assert (answer.status_code, answer.get_json()["field"]) == (404, "labels")


def posts(dataset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "/v1/datasets", {"name": "keyed", "uris": ["file:///k"]}
    yield f"/v1/datasets/{dataset}/samples", {"uris": ["file:///k"]}
    yield f"/v1/datasets/{dataset}/labels", {"labels": {"file:///k": "cat"}}
    yield "/v1/uploads/missing", {"sha256": ["0" * 64]}
    yield "/v1/files/readable", {"files": []}


def test_the_same_key_gives_the_same_answer_on_every_post(client: FlaskClient, dataset: str) -> None:
    for number, (path, body) in enumerate(posts(dataset)):
        headers = {"Idempotency-Key": f"key-{number}"}
        first, again = (client.post(path, json=body, headers=headers) for _ in range(2))
        assert first.status_code < 300
        assert (again.status_code, again.data) == (first.status_code, first.data), path
        assert again.headers["Idempotent-Replayed"] == "true"
        assert client.post(path, json=body | {"name": "x"}, headers=headers).status_code in (409, 422)


def test_a_streamed_body_honours_its_key_and_tells_another_body_apart(client: FlaskClient, dataset: str) -> None:
    first = send(client, dataset, b'"file:///a"\n', key="k")
    again = send(client, dataset, b'"file:///a"\n', key="k")
    other = send(client, dataset, b'"file:///b"\n', key="k")
    assert first.get_json() == again.get_json() == {"received": 1, "added": 1, "duplicates": 0}
    assert other.status_code == 409
    assert held(client, dataset) == 1


def test_an_answer_that_was_an_error_is_not_kept_under_its_key(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/v1/datasets", json={"name": ""}, headers=headers).status_code == 422
    assert client.post("/v1/datasets", json={"name": "right"}, headers=headers).status_code == 201
