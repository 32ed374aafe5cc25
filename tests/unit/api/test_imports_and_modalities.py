"""Jobs that import, and jobs whose model and samples must be of one modality: what is accepted, refused and kept."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger

TEXTS = ["data:text/plain;charset=utf-8,a", "data:text/plain;charset=utf-8,b"]


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    settings["models"]["words"] = {"source": "null", "modality": "text", "text": {"tokenizer": "bytes"}}
    settings["models"]["more words"] = settings["models"]["words"]
    settings["sources"]["http"] = {"enabled": False}
    return settings


def dataset(client: FlaskClient, modality: str = "vision", uris: list[str] | None = None) -> str:
    body = {"name": f"of {modality}", "modality": modality, "uris": uris or []}
    return str(client.post("/v1/datasets", json=body).get_json()["id"])


def importing(client: FlaskClient, dataset_id: str | None = None, **changes: Any) -> Any:
    listing = {"uri": "file:///pool/"} | changes.pop("listing", {})
    body = {"kind": "import", "dataset_id": dataset_id or dataset(client), "listing": listing} | changes
    return client.post("/v1/jobs", json={name: value for name, value in body.items() if value is not None})


def test_an_import_is_accepted_with_its_listing_and_needs_no_samples(client: FlaskClient, catalog: Catalog) -> None:
    answer = importing(client, listing={"uri": "file:///pool/m.csv", "label_column": "species"})
    assert answer.status_code == 202
    job = client.get(answer.headers["Location"]).get_json()
    assert (job["kind"], job["model"], job["listing"]["label_column"]) == ("import", "", "species")
    assert [record.kind for record in catalog.open_jobs()] == ["import"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset_id": "0" * 32}, "dataset_id"),
        ({"budget": 3}, "budget"),
        ({"model": "tiny"}, "model"),
        ({"strategy": "RandomSampling"}, "strategy"),
        ({"policy": {}}, "policy"),
        ({"uris": ["file:///a"]}, "uris"),
        ({"modality": "text"}, "modality"),
        ({"listing": {"uri": "gopher://host/"}}, "listing.uri"),
        ({"listing": {"uri": "http://host/m.csv"}}, "listing.uri"),
        ({"listing": {"uri": "file:///a?b/"}}, "listing.uri"),
        ({"listing": {"column": "uri"}}, "listing.column"),
        ({"listing": {"format": "csv"}}, "listing.format"),
        ({"listing": {"uri": "file:///m.csv", "format": "xlsx"}}, "listing.format"),
        ({"listing": {"uri": "file:///m.csv", "text_column": "text"}}, "listing.text_column"),
        ({"listing": {"colum": "uri"}}, "listing.colum"),
        ({"listing": {"uri": ""}}, "listing.uri"),
    ],
)
def test_what_an_import_does_not_take_is_named(client: FlaskClient, changes: dict[str, Any], field: str) -> None:
    answer = importing(client, **changes)
    assert answer.status_code == (404 if field == "dataset_id" else 422)
    assert answer.get_json()["field"] == field


@pytest.mark.parametrize("missing", ["dataset_id", "listing"])
def test_an_import_names_what_it_lacks(client: FlaskClient, missing: str) -> None:
    body = {"kind": "import", "dataset_id": dataset(client), "listing": {"uri": "file:///pool/"}}
    del body[missing]
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, missing)


@pytest.mark.parametrize("kind", ["query", "scan"])
def test_only_an_import_reads_a_listing(client: FlaskClient, kind: str) -> None:
    budget = {"budget": 1} if kind == "query" else {}
    body = {"kind": kind, "uris": ["file:///a"], "listing": {"uri": "file:///pool/"}} | budget
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, "listing")


def test_another_owners_dataset_is_not_there(with_tokens: dict[str, dict[str, str]], client: FlaskClient) -> None:
    made = client.post("/v1/datasets", json={"name": "mine"}, headers=with_tokens["ann"]).get_json()["id"]
    body = {"kind": "import", "dataset_id": made, "listing": {"uri": "file:///pool/"}}
    assert client.post("/v1/jobs", json=body, headers=with_tokens["bob"]).status_code == 404


def test_imports_count_among_an_owners_unfinished_jobs(client: FlaskClient) -> None:
    assert [importing(client).status_code for _ in range(4)] == [202, 202, 202, 429]


def test_a_repeated_request_makes_one_import(client: FlaskClient, catalog: Catalog) -> None:
    body = {"kind": "import", "dataset_id": dataset(client), "listing": {"uri": "file:///pool/"}}
    ids = {client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).get_json()["id"] for _ in range(2)}
    assert len(ids) == len(catalog.open_jobs()) == 1


# Modalities


def test_a_model_that_takes_something_else_is_refused_and_both_are_named(client: FlaskClient) -> None:
    asked = {"dataset_id": dataset(client, "text", TEXTS), "budget": 1, "model": "tiny"}
    answer = client.post("/v1/jobs", json=asked)
    problem = answer.get_json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "model_error", "model")
    assert problem["detail"] == "the model 'tiny' takes vision, and the samples are text"


def test_a_committee_takes_one_modality(client: FlaskClient) -> None:
    asked = {"uris": TEXTS, "budget": 1, "strategy": "QueryByCommittee"}
    assert client.post("/v1/jobs", json=asked | {"model": ["words", "tiny"]}).get_json()["field"] == "model"
    assert client.post("/v1/jobs", json=asked | {"model": ["words", "more words"]}).status_code == 202


@pytest.mark.parametrize(
    ("asked", "model", "modality"),
    [
        ({"uris": TEXTS}, "tiny", "vision"),
        ({"uris": TEXTS, "modality": "text"}, "words", "text"),
        ({"uris": TEXTS, "model": "more words"}, "more words", "text"),
    ],
)
def test_a_list_is_of_its_models_modality_and_the_model_that_of_its_list(
    client: FlaskClient, catalog: Catalog, asked: dict[str, Any], model: str, modality: str
) -> None:
    job = client.post("/v1/jobs", json=asked | {"budget": 1}).get_json()
    assert job["model"] == model
    assert catalog.get_dataset("local", job["dataset_id"]).modality == modality


def test_without_a_name_the_model_is_the_first_of_the_datasets_modality(client: FlaskClient) -> None:
    asked = {"dataset_id": dataset(client, "text", TEXTS), "budget": 1}
    assert client.post("/v1/jobs", json=asked).get_json()["model"] == "words"


def test_where_no_model_takes_the_samples_the_default_is_refused_by_name(client: FlaskClient) -> None:
    problem = client.post("/v1/jobs", json={"dataset_id": dataset(client, "audio", TEXTS), "budget": 1}).get_json()
    assert problem["detail"] == "the model 'tiny' takes vision, and the samples are audio"


def test_the_modality_of_a_dataset_is_not_for_a_job_to_say(client: FlaskClient) -> None:
    asked = {"dataset_id": dataset(client, "text", TEXTS), "budget": 1, "modality": "text"}
    assert client.post("/v1/jobs", json=asked).get_json()["field"] == "modality"


def test_the_published_call_takes_texts_and_asks_the_text_model(
    client: FlaskClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.published._ended", lambda own, record: record)
    body = {"data": [{"text": "a b"}, {"text": "c" * 5000}], "parameters": {"budget": 1}}
    client.post("/post", json=body)
    (record,) = catalog.open_jobs()
    first, second = (sample.uri for sample in catalog.pool(record.id))
    assert (record.model, first) == ("words", "data:text/plain;charset=utf-8,a%20b")
    assert second.startswith("upload://")


@pytest.mark.parametrize("data", [[{"text": ""}], [{"text": "a", "uri": "file:///a"}], [{}], [{"text": 3}],
                                  [{"text": "a"}, {"uri": "file:///a"}]])  # fmt: skip
def test_the_published_call_refuses_what_is_neither_texts_nor_uris(client: FlaskClient, data: Any) -> None:
    assert client.post("/post", json={"data": data, "parameters": {"budget": 1}}).status_code == 422


def test_the_broker_being_away_refuses_an_import_for_now(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "free_fraction", lambda self: 0.01)
    assert importing(client).status_code == 503
