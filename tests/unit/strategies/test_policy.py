"""What a policy may say."""

from __future__ import annotations

from typing import Any

import pytest

from strategies import BatchPolicy, StrategyError, get_policy


def test_without_values_there_are_no_rules() -> None:
    policy = get_policy()
    assert policy == BatchPolicy()
    assert (policy.min_distance, policy.max_per_class, policy.max_per_source) == (None, None, None)
    assert (policy.random_share, policy.exclude, policy.needs, policy.uses) == (0.0, (), frozenset(), frozenset())


def test_it_needs_what_its_rules_look_at() -> None:
    assert BatchPolicy(min_distance=1.0).needs == {"embeddings"}
    assert BatchPolicy(min_distance=1.0).uses == {"labelled_embeddings"}
    assert BatchPolicy(max_per_class=1).needs == {"probabilities"}
    assert BatchPolicy(max_per_source=1, random_share=0.5, exclude=("a",)).needs == frozenset()


def test_plain_data_makes_one() -> None:
    given = {"min_distance": 1, "max_per_class": 2, "max_per_source": 3, "random_share": 0.25, "exclude": ["a", "b"]}
    expected = BatchPolicy(min_distance=1.0, max_per_class=2, max_per_source=3, random_share=0.25, exclude=("a", "b"))
    assert get_policy(given) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_distance", 0),
        ("min_distance", -1.0),
        ("min_distance", float("nan")),
        ("min_distance", float("inf")),
        ("min_distance", "1"),
        ("max_per_class", 0),
        ("max_per_class", 1.5),
        ("max_per_class", True),
        ("max_per_source", 2**63),
        ("random_share", -0.1),
        ("random_share", 1.1),
        ("exclude", "abc"),
        ("exclude", [1]),
        ("min_distanc", 1.0),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(StrategyError) as caught:
        get_policy({field: value})
    assert caught.value.field in (field, f"{field}.0", "policy")


def test_every_rule_has_a_description() -> None:
    assert all(field.description for field in BatchPolicy.model_fields.values())
