"""A job's choice under its policy: where a sample comes from, and what is said of each chosen one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from alaas.jobs import Chosen, JobState, Neighbour, Policy, Progress
from alaas_workers.catalog import JobRecord, PoolSample
from alaas_workers.choosing import choice_of, looked_at, policy_of, source_of
from strategies import BatchPolicy, Pool

RECORD = JobRecord(
    id="j", kind="query", state=JobState.RUNNING, owner="ada", dataset_id="d", model="m",
    strategy={"type": "LeastConfidence"}, budget=3, seed=0, created=datetime.now(UTC), started=None, finished=None,
    deadline_s=None, progress=Progress(), error=None, pool_size=4, unlabelled=4, duplicates=0, idempotency_key=None,
    request_digest=None,
)  # fmt: skip
SAMPLES = [PoolSample(number, name, f"file:///{folder}/{name}.png", "") for number, (name, folder) in
           enumerate(zip("abcd", "xxyy", strict=True))]  # fmt: skip
LABELLED = [PoolSample(9, "l", "file:///z/l.png", "")]
FEATURES = {
    "probabilities": np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]], dtype=np.float32),
    "embeddings": np.array([[0], [1], [5], [9]], dtype=np.float32),
    "labelled_embeddings": np.array([[12]], dtype=np.float32),
}


def chosen(record: JobRecord, features: dict[str, Any] = FEATURES) -> tuple[list[Chosen], list[str]]:
    choice = choice_of(record, Pool([sample.id for sample in SAMPLES], features), SAMPLES, LABELLED)
    return choice.chosen, choice.warnings


def with_policy(**rules: Any) -> JobRecord:
    return replace(RECORD, policy=Policy(**rules).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("file:///data/cats/1.png", "file:///data/cats/"),
        ("/data/cats/1.png", "file:///data/cats/"),
        ("https://Host:8443/a/b/1.jpg?size=2#part", "https://host:8443/a/b/"),
        ("http://host", "http://host/"),
        ("upload://" + "0" * 64, "upload:"),
        ("http://[broken/a/1.jpg", "http://[broken/a/"),
    ],
)
def test_a_source_is_scheme_host_and_folder(uri: str, source: str) -> None:
    assert source_of(uri) == source


def test_a_choice_says_what_it_is_made_of() -> None:
    found, warnings = chosen(RECORD)
    assert [one.id for one in found] == ["b", "d", "c"]
    assert [one.nearest for one in found] == [
        Neighbour(id="l", uri="file:///z/l.png", kind="labelled", distance=11.0),
        Neighbour(id="l", uri="file:///z/l.png", kind="labelled", distance=3.0),
        Neighbour(id="b", uri="file:///x/b.png", kind="chosen", distance=4.0),
    ]
    assert [one.stands_for for one in found] == [2, 1, 1]
    assert found[0].parts is not None and found[0].parts["predicted_class"] == 0
    assert {one.drawn for one in found} == {"strategy"} and warnings == []


def test_without_embeddings_there_are_parts_and_no_neighbours() -> None:
    found, _ = chosen(RECORD, {"probabilities": FEATURES["probabilities"]})
    assert [(one.nearest, one.stands_for) for one in found] == [(None, None)] * 3
    assert all(one.parts for one in found)


def test_quotas_by_source_go_by_folder() -> None:
    found, warnings = chosen(with_policy(max_per_source=1))
    assert [one.id for one in found] == ["b", "d"]
    assert warnings == ["the policy left 2 samples instead of 3: max_per_source closed 2"]


def test_random_draws_are_marked_and_have_no_parts() -> None:
    found, _ = chosen(with_policy(random_share=1.0))
    assert [(one.drawn, one.parts) for one in found] == [("random", None)] * 3


def test_what_is_labelled_is_looked_at_when_strategy_or_policy_do() -> None:
    assert "labelled_embeddings" not in looked_at(RECORD)
    assert "labelled_embeddings" in looked_at(with_policy(min_distance=1.0))
    assert "labelled_embeddings" in looked_at(replace(RECORD, strategy={"type": "KCenterSampling"}))


def test_the_wire_and_the_library_have_the_same_rules() -> None:
    def limits(schema: dict[str, Any]) -> dict[str, Any]:
        names = ("minimum", "maximum", "exclusiveMinimum", "type", "anyOf", "default")
        return {
            rule: {name: values[name] for name in names if name in values}
            for rule, values in schema["properties"].items()
            if rule != "exclude"
        }

    assert limits(Policy.model_json_schema()) == limits(BatchPolicy.model_json_schema())
    assert list(Policy.model_fields) == list(BatchPolicy.model_fields)
    rules: dict[str, Any] = {"min_distance": 2, "max_per_class": 3, "random_share": 0.5, "exclude": ["a"]}
    assert policy_of(with_policy(**rules)) == BatchPolicy(
        min_distance=2.0, max_per_class=3, random_share=0.5, exclude=("a",)
    )
