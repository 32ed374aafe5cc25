"""Batch policies over HTTP: whose rules count, how they are kept, and what is wrong with them by name."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas.config import Config
from alaas.jobs import Feature, ModelCard
from alaas_workers.catalog import Catalog, sample_id
from alaas_workers.model_cards import ModelCards

QUERY: dict[str, Any] = {"uris": ["file:///a", "file:///b", "file:///c"], "budget": 2}


def kept(client: FlaskClient, catalog: Catalog, **more: Any) -> dict[str, Any] | None:
    answer = client.post("/v1/jobs", json=QUERY | more)
    assert answer.status_code == 202, answer.text
    return catalog.get_job(answer.get_json()["id"]).policy


def test_a_policy_is_kept_with_every_rule(client: FlaskClient, catalog: Catalog) -> None:
    assert kept(client, catalog, policy={"max_per_class": 3}) == {
        "min_distance": None, "max_per_class": 3, "max_per_source": None, "random_share": 0.0, "exclude": [],
    }  # fmt: skip


@pytest.mark.parametrize("policy", [{}, {"random_share": 0}, None])
def test_no_rules_are_no_policy(client: FlaskClient, catalog: Catalog, policy: Any) -> None:
    assert kept(client, catalog, policy=policy) is None


def test_a_job_without_a_policy_gets_the_configurations(settings: dict[str, Any], request: Any) -> None:
    settings["policy"] = {"random_share": 0.25}
    client, catalog = request.getfixturevalue("client"), request.getfixturevalue("catalog")
    policy = kept(client, catalog)
    assert policy is not None and policy["random_share"] == 0.25
    assert kept(client, catalog, policy={}) is None


def test_what_is_excluded_is_kept_by_id(client: FlaskClient, catalog: Catalog) -> None:
    policy = kept(client, catalog, policy={"exclude": ["file:///a", sample_id("file:///b"), "file:///a"]})
    assert policy is not None
    assert policy["exclude"] == sorted([sample_id("file:///a"), sample_id("file:///b")])


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"min_distance": 0}, "policy.min_distance"),
        ({"min_distance": "near"}, "policy.min_distance"),
        ({"max_per_class": 0}, "policy.max_per_class"),
        ({"max_per_source": 1.5}, "policy.max_per_source"),
        ({"random_share": 1.1}, "policy.random_share"),
        ({"exclude": ["a", 3]}, "policy.exclude.1"),
        ({"exclude": ["a"] * 10_001}, "policy.exclude"),
        ({"max_per_clas": 3}, "policy.max_per_clas"),
        ([], "policy"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(
    settings: dict[str, Any], request: Any, policy: Any, field: str
) -> None:
    settings["api"]["max_body_bytes"] = 1_000_000
    answer = request.getfixturevalue("client").post("/v1/jobs", json=QUERY | {"policy": policy})
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)


def test_a_scan_takes_no_policy(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"kind": "scan", "uris": QUERY["uris"], "policy": {"max_per_class": 1}})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "policy")


def test_a_scan_is_no_matter_of_the_configurations_policy(settings: dict[str, Any], request: Any) -> None:
    settings["policy"] = {"max_per_class": 1}
    answer = request.getfixturevalue("client").post("/v1/jobs", json={"kind": "scan", "uris": QUERY["uris"]})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("rule", "given"), [("min_distance", Feature.PROBABILITIES), ("max_per_class", Feature.EMBEDDINGS)]
)
def test_a_rule_that_the_model_cannot_serve_is_refused_once_the_model_is_known(
    client: FlaskClient, config: Config, rule: str, given: Feature
) -> None:
    query = QUERY | {"strategy": "RandomSampling", "policy": {rule: 1}}
    assert client.post("/v1/jobs", json=query).status_code == 202
    ModelCards.open(config).publish(ModelCard(name="tiny", modality="vision", outputs=[given]))
    answer = client.post("/v1/jobs", json=query)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "model_error")
    assert answer.get_json()["field"] == f"policy.{rule}"


def test_another_policy_under_the_same_key_is_a_conflict(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/v1/jobs", json=QUERY | {"policy": {"max_per_class": 1}}, headers=headers).status_code == 202
    assert client.post("/v1/jobs", json=QUERY | {"policy": {"max_per_class": 2}}, headers=headers).status_code == 409


def test_strategies_are_listed_with_what_they_need_and_use(client: FlaskClient) -> None:
    cards = {card["name"]: card for card in client.get("/v1/strategies").get_json()["items"]}
    assert cards["KCenterSampling"]["needs"] == ["embeddings"]
    assert cards["KCenterSampling"]["uses"] == ["labelled_embeddings"]
    assert cards["RandomSampling"]["needs"] == cards["RandomSampling"]["uses"] == []
    assert cards["KCenterSampling"]["in_words"] == "embeddings; embeddings of labelled samples if there are any"
    assert cards["RandomSampling"]["in_words"] == "nothing"
    assert all(card["summary"] and card["in_words"] for card in cards.values())
