"""Cluster-Margin: the round-robin against a plain one, and which clusters and margins it draws on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, get_strategy
from strategies.cluster_margin import in_turn
from tests.support.pools import sample_ids

Rows = NDArray[Any]


def select(margins: Rows, rows: Rows, budget: int, **parameters: Any) -> Selection:
    """Of samples of two classes whose probabilities lie so far apart."""
    p = np.column_stack([1 + np.asarray(margins), 1 - np.asarray(margins)]) / 2
    pool = Pool(sample_ids(len(p)), {"probabilities": p, "embeddings": rows.astype(np.float32)})
    return get_strategy("ClusterMargin", parameters).select(pool, budget)


def blobs(*sizes: int) -> Rows:
    """As many far apart, one after the other."""
    middles: Rows = np.repeat(1000 * np.arange(len(sizes)), sizes)[:, None]
    return middles + np.random.default_rng(0).normal(size=(sum(sizes), 2))


@pytest.mark.shows("ClusterMargin", "turns worked out by hand: the smallest cluster first, empty ones passed over")
def test_clusters_take_turns_from_the_smallest_to_the_largest() -> None:
    # Cluster 7 has one, 3 has two, 5 has four.
    assert in_turn(np.array([5, 3, 5, 7, 5, 3, 5])).tolist() == [3, 1, 0, 5, 2, 4, 6]


@pytest.mark.shows("ClusterMargin", "the turns of a plain round-robin, on 200 random problems")
def test_turns_are_those_of_a_plain_round_robin() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        clusters = rng.integers(0, 8, size=rng.integers(1, 40))
        queues = [np.flatnonzero(clusters == number).tolist() for number in range(8)]
        queues.sort(key=len)
        expected: list[int] = []
        while any(queues):
            expected += [queue.pop(0) for queue in queues if queue]
        assert in_turn(clusters).tolist() == expected


@pytest.mark.shows("ClusterMargin", "small clusters of candidates come first, each gives one in a round")
def test_each_cluster_gives_one_before_any_gives_two() -> None:
    selection = select(np.zeros(35), blobs(20, 10, 5), 12, clusters=3)
    numbers = np.repeat([0, 1, 2], [20, 10, 5])[selection.indices]
    assert numbers.tolist() == [2, 1, 0] * 4
    assert selection.parts["candidates_in_cluster"].tolist() == [5.0, 10.0, 20.0] * 4


@pytest.mark.shows("ClusterMargin", "only the lowest margins are candidates, and only they count as a cluster's size")
def test_only_the_lowest_margins_are_candidates() -> None:
    margins = np.concatenate([np.full(18, 0.9), [0.1, 0.2], np.full(5, 0.3)])
    selection = select(margins, blobs(20, 5), 4, clusters=2, candidates=1.75)
    assert np.repeat([0, 1], [20, 5])[selection.indices].tolist() == [0, 1, 0, 1]
    assert set(selection.indices.tolist()) <= set(range(18, 25))
    assert selection.scores.tolist() == pytest.approx([1 - margins[row] for row in selection.indices])


def test_within_a_cluster_the_choice_is_drawn() -> None:
    pool = Pool(sample_ids(10), {"probabilities": np.full((10, 2), 0.5), "embeddings": blobs(10)})
    strategy = get_strategy("ClusterMargin", {"clusters": 1})
    firsts = [strategy.select(pool, 1, np.random.default_rng(seed)).indices[0] for seed in range(200)]
    assert min(np.bincount(firsts, minlength=10)) >= 5


def test_by_default_a_cluster_is_made_for_ten_samples() -> None:
    rows = blobs(*[10] * 7)
    selection = select(np.zeros(70), rows, 7)
    assert sorted(row // 10 for row in selection.indices.tolist()) == list(range(7))
