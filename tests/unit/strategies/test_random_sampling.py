"""Random sampling: uniform, reproducible, and blind to the order of the pool."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import Pool, get_strategy
from tests.support.pools import sample_ids


def chosen(seed: int, budget: int, size: int = 20) -> list[int]:
    indices: list[int] = (
        get_strategy("RandomSampling").select(Pool(sample_ids(size), {}, seed), budget).indices.tolist()
    )
    return indices


@pytest.mark.shows("RandomSampling", "every sample is chosen equally often")
def test_every_sample_is_chosen_equally_often() -> None:
    trials = 2_000
    counts = np.bincount([row for seed in range(trials) for row in chosen(seed, 5)], minlength=20)
    # 20 binomial counts of mean 500 and deviation 19.4; five deviations leave one false alarm in 80,000 codes.
    assert np.abs(counts - trials / 4).max() < 5 * np.sqrt(trials * 0.25 * 0.75)


@pytest.mark.shows("RandomSampling", "pairs are chosen together as often as by chance")
def test_pairs_are_chosen_together_as_often_as_by_chance() -> None:
    trials = 2_000
    together = sum({0, 1} <= set(chosen(seed, 10)) for seed in range(trials))
    share = 10 * 9 / (20 * 19)
    assert abs(together - trials * share) < 5 * np.sqrt(trials * share * (1 - share))


def test_scores_are_draws_between_zero_and_one() -> None:
    scores = get_strategy("RandomSampling").select(Pool(sample_ids(5_000), {}), 5_000).scores
    assert 0 <= scores.min() < 0.01 and 0.99 < scores.max() < 1
    assert scores.mean() == pytest.approx(0.5, abs=0.02)


def test_a_larger_budget_begins_with_the_smaller_one() -> None:
    assert chosen(3, 12)[:5] == chosen(3, 5)


def test_a_draw_is_not_the_order_that_breaks_ties() -> None:
    pool = Pool(sample_ids(20), {"probabilities": np.full((20, 2), 0.5, dtype=np.float32)})
    tied = get_strategy("LeastConfidence").select(pool, 20).indices.tolist()
    assert tied != chosen(0, 20)
