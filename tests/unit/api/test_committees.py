"""Jobs of several models over HTTP: accepted as named, and judged before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas.config import Config
from alaas.jobs import Feature, ModelCard
from alaas_workers.catalog import Catalog
from alaas_workers.model_cards import ModelCards

QUERY: dict[str, Any] = {"uris": ["file:///a", "file:///b", "file:///c"], "budget": 2}


def refused(client: FlaskClient, **changes: Any) -> tuple[str, str]:
    answer = client.post("/v1/jobs", json=QUERY | changes)
    assert answer.status_code == 422, answer.text
    return answer.get_json()["field"], answer.get_json()["detail"]


@pytest.mark.parametrize("strategy", ["QueryByCommittee", "BayesianDisagreement", "BatchBALD"])
def test_a_committee_is_accepted_and_shown_as_it_was_named(
    client: FlaskClient, catalog: Catalog, strategy: str
) -> None:
    answer = client.post("/v1/jobs", json=QUERY | {"model": ["other", "tiny"], "strategy": strategy})
    assert (answer.status_code, answer.get_json()["model"]) == (202, ["other", "tiny"])
    assert catalog.get_job(answer.get_json()["id"]).models == ["other", "tiny"]


@pytest.mark.parametrize("models", [[], ["tiny"]])
def test_a_committee_of_one_is_none(client: FlaskClient, models: list[str]) -> None:
    field, detail = refused(client, model=models, strategy="QueryByCommittee")
    assert field == "model" and "a committee needs two models or more" in detail


def test_a_model_that_is_named_twice_is_refused(client: FlaskClient) -> None:
    field, detail = refused(client, model=["tiny", "other", "tiny"], strategy="QueryByCommittee")
    assert field == "model.2" and "'tiny' is repeated" in detail


def test_an_unknown_member_is_named_with_its_place(client: FlaskClient) -> None:
    field, detail = refused(client, model=["tiny", "othre"], strategy="QueryByCommittee")
    assert field == "model.1" and "nearest known: 'other'" in detail


def test_a_strategy_of_committees_does_not_take_one_model(client: FlaskClient) -> None:
    field, detail = refused(client, model="tiny", strategy="QueryByCommittee")
    assert field == "model" and "two models or more" in detail


@pytest.mark.parametrize("strategy", ["LeastConfidence", "RandomSampling", "KCenterSampling", "DeepFool"])
def test_a_strategy_of_one_model_does_not_take_a_committee(client: FlaskClient, strategy: str) -> None:
    field, detail = refused(client, model=["tiny", "other"], strategy=strategy)
    assert field == "model" and f"{strategy} takes one model" in detail


def test_models_that_are_known_to_differ_in_their_classes_are_refused(client: FlaskClient, config: Config) -> None:
    cards = ModelCards.open(config)
    cards.publish(ModelCard(name="tiny", modality="vision", classes=10))
    cards.publish(ModelCard(name="other", modality="vision", classes=3))
    field, detail = refused(client, model=["tiny", "other"], strategy="QueryByCommittee")
    assert field == "model" and "'tiny' gives 10 and 'other' gives 3" in detail


def test_a_model_that_is_known_to_have_no_dropout_is_refused_with_a_way_out(
    client: FlaskClient, config: Config
) -> None:
    why = "the model has no dropout layers"
    outputs = [Feature.PROBABILITIES]
    card = ModelCard(
        name="tiny", modality="vision", outputs=outputs, lacking=dict.fromkeys(set(Feature) - {*outputs}, why)
    )
    ModelCards.open(config).publish(card)
    for strategy in ("BayesianDisagreement", "BatchBALD"):
        field, detail = refused(client, strategy=strategy)
        assert field == "strategy" and f"{why}; take a committee of models or another strategy" in detail
    accepted = client.post("/v1/jobs", json=QUERY | {"strategy": "BayesianDisagreement", "model": ["tiny", "other"]})
    assert accepted.status_code == 202


def test_a_scan_may_name_several_models(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"kind": "scan", "uris": QUERY["uris"], "model": ["tiny", "other"]})
    assert (answer.status_code, answer.get_json()["model"]) == (202, ["tiny", "other"])
