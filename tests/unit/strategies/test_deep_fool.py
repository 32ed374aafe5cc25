"""The nearest boundary first, and what never reached one last."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import Pool, Selection, StrategyError, get_strategy
from strategies.ranking import hash_keys
from tests.support.pools import sample_ids

NEVER = float(np.finfo(np.float32).max)


def select(distances: list[list[float]], budget: int) -> Selection:
    features = {"boundary_distances": np.array(distances, dtype=np.float32)}
    return get_strategy("DeepFool").select(Pool(sample_ids(len(distances)), features), budget)


@pytest.mark.shows("DeepFool", "the smallest distance comes first, never reached comes last")
def test_the_smallest_distance_is_first_and_never_is_last() -> None:
    selection = select([[2.0], [NEVER], [0.0], [0.5], [1e30]], 5)
    assert selection.indices.tolist() == [2, 3, 0, 4, 1]
    assert selection.scores.tolist() == [0.0, -0.5, -2.0, -float(np.float32(1e30)), -NEVER]
    assert selection.parts["distance"].tolist() == (-selection.scores).tolist()


def test_a_sample_on_the_boundary_scores_zero_without_a_sign() -> None:
    assert str(select([[0.0]], 1).scores[0]) == "0.0"


@pytest.mark.shows("DeepFool", "samples that never reached a boundary are ordered by hash")
def test_samples_that_never_reached_a_boundary_are_ordered_by_hash() -> None:
    assert select([[NEVER]] * 20, 20).indices.tolist() == np.argsort(hash_keys(sample_ids(20), 0)).tolist()


@pytest.mark.parametrize(("wrong", "complaint"), [([-1.0], "negative"), ([np.nan], "NaN"), ([np.inf], "Inf")])
def test_distances_that_are_none_are_refused_by_row(wrong: list[float], complaint: str) -> None:
    with pytest.raises(StrategyError, match=f"row 1 .*{complaint}") as caught:
        select([[1.0], wrong], 1)
    assert (caught.value.field, caught.value.rows) == ("boundary_distances", (1,))


def test_the_distances_to_all_boundaries_are_refused() -> None:
    with pytest.raises(StrategyError, match="nearest boundary alone") as caught:
        select([[1.0, 2.0], [3.0, 4.0]], 1)
    assert caught.value.field == "boundary_distances"
