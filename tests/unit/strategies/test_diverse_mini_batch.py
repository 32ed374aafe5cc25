"""DBAL: who is a candidate, how uncertainty weighs, and what happens where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, StrategyError, get_strategy
from tests.support.pools import sample_ids

Rows = NDArray[Any]


def select(margins: Rows, rows: Rows, budget: int, **parameters: Any) -> Selection:
    """Of samples of two classes whose probabilities lie so far apart."""
    p = np.column_stack([1 + np.asarray(margins), 1 - np.asarray(margins)]) / 2
    pool = Pool(sample_ids(len(p)), {"probabilities": p, "embeddings": rows.astype(np.float32)})
    return get_strategy("DiverseMiniBatch", parameters).select(pool, budget)


@pytest.mark.shows("DiverseMiniBatch", "only the beta * b most uncertain are candidates")
@pytest.mark.parametrize(("beta", "candidates"), [(1, 8), (1.3, 11), (2, 16), (10, 60)])
def test_only_the_most_uncertain_are_candidates(beta: float, candidates: int) -> None:
    rng = np.random.default_rng(0)
    margins = rng.permutation(60) / 60
    selection = select(margins, rng.normal(size=(60, 3)), 8, beta=beta)
    likely = np.argsort(margins)[:candidates]
    assert set(selection.indices.tolist()) <= set(likely.tolist())
    assert selection.scores.sum() == pytest.approx((1 - margins[likely]).sum())


def test_beta_is_10_by_default() -> None:
    rng = np.random.default_rng(1)
    margins = np.arange(100) / 100

    assert get_strategy("DiverseMiniBatch") == get_strategy("DiverseMiniBatch", {"beta": 10})
    selection = select(margins, 100 * (np.arange(100) % 20 < 10)[:, None] + rng.normal(size=(100, 1)), 2)
    assert (selection.indices < 20).all()


@pytest.mark.shows("DiverseMiniBatch", "a weighted centre worked out by hand")
def test_the_centre_is_drawn_to_uncertain_samples() -> None:
    # Uncertainties 0.9, 0.1 and 0.1: the centre (0 + 0.6 + 1) / 1.1 = 1.45 is nearest to 0; evenly it would be 5.33.
    selection = select(np.array([0.1, 0.9, 0.9]), np.array([[0.0], [6.0], [10.0]]), 1)
    assert selection.indices.tolist() == [0]
    assert selection.scores[0] == pytest.approx(1.1)
    assert selection.parts["distance_to_centre"][0] == pytest.approx(1.6 / 1.1, abs=1e-5)
    assert selection.parts["uncertainty"][0] == pytest.approx(0.9)


@pytest.mark.shows("DiverseMiniBatch", "a model that is sure of all: even weights")
def test_where_all_weights_are_0_they_count_as_even() -> None:
    selection = select(np.ones(7), np.array([[0.0], [1], [2], [3.5], [100], [101], [102.5]]), 2, beta=4)
    assert selection.indices.tolist() == [2, 5]
    assert selection.scores.tolist() == [4.0, 3.0]


@pytest.mark.shows("DiverseMiniBatch", "candidates without weight fill what is left of the budget")
def test_candidates_without_weight_come_last() -> None:
    selection = select(np.array([1.0, 1.0, 0.5, 1.0, 0.2]), np.arange(5.0)[:, None] ** 2, 5)
    assert set(selection.indices[:2].tolist()) == {2, 4}
    assert (selection.scores[:2] > 0).all() and (selection.scores[2:] == 0).all()


def test_each_uncertain_blob_gives_one_whatever_the_measure() -> None:
    rng = np.random.default_rng(2)
    rows = 100 * np.repeat(np.arange(12), 10)[:, None] + rng.normal(size=(120, 3))
    margins = np.where(np.arange(120) < 60, rng.uniform(0.0, 0.3, 120), rng.uniform(0.7, 1.0, 120))
    for measure in ("least_confidence", "margin_confidence", "ratio_confidence", "entropy"):
        selection = select(margins, rows, 6, uncertainty=measure)
        assert sorted(row // 10 for row in selection.indices.tolist()) == list(range(6))


@pytest.mark.parametrize(
    "parameters", [{"beta": 0.5}, {"beta": "10"}, {"beta": True}, {"uncertainty": "doubt"}, {"bta": 10}]
)
def test_wrong_parameters_are_named(parameters: dict[str, Any]) -> None:
    with pytest.raises(StrategyError) as caught:
        get_strategy("DiverseMiniBatch", parameters)
    assert caught.value.field == next(iter(parameters))
