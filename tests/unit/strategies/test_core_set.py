"""The least radius there is, outliers left out: by the solver, against all subsets tried one by one."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from strategies import Pool, Selection, StrategyError, get_strategy
from strategies.robust_cover import Solver, greedy_cover
from tests.support.pools import sample_ids

Rows = NDArray[np.float32]


def select(rows: Any, labelled: Any, budget: int, **parameters: Any) -> Selection:
    rows = np.array(rows, dtype=np.float32)
    features = {"embeddings": rows, "labelled_embeddings": np.array(labelled, np.float32).reshape(-1, rows.shape[1])}
    return get_strategy("CoreSet", parameters).select(Pool(sample_ids(len(rows)), features), budget)


def radius(rows: Rows, labelled: Rows, chosen: Any, outliers: int) -> float:
    """What is left to the nearest of `chosen` and `labelled` when the `outliers` farthest are not counted."""
    distances = cdist(rows.astype(float), np.concatenate([rows[list(chosen)], labelled]).astype(float))
    return float(np.sort(distances.min(axis=1))[len(rows) - 1 - outliers])


def random_problem(seed: int) -> tuple[Rows, Rows, int]:
    rng = np.random.default_rng(seed)
    size, labelled, width = (int(number) for number in rng.integers([2, 0, 1], [13, 4, 4]))
    draw = rng.normal if seed % 2 else rng.integers  # whole numbers: equal rows and equal distances
    rows, near = (draw(0, 4, size=(count, width)).astype(np.float32) for count in (size, labelled))
    return rows, near, int(rng.integers(1, min(size, 5) + 1))


@pytest.mark.shows("CoreSet", "equals brute force over all subsets on 300 random problems, with and without outliers")
@pytest.mark.parametrize("share", [0.0, 0.15, 0.4])
def test_no_other_centres_have_a_smaller_radius(share: float) -> None:
    for seed in range(100):
        rows, labelled, budget = random_problem(seed)
        outliers = int(share * len(rows))
        chosen = select(rows, labelled, budget, outlier_share=share).indices.tolist()
        tried = (radius(rows, labelled, subset, outliers) for subset in combinations(range(len(rows)), budget))
        assert radius(rows, labelled, chosen, outliers) == pytest.approx(min(tried), abs=1e-9), seed


@pytest.mark.shows("CoreSet", "hand-worked centres on a line, where K-Center Greedy needs twice the radius")
def test_the_solver_beats_greedy_where_greedy_is_twice_as_far() -> None:
    line = [[0], [1], [2], [6], [7], [8]]
    selection = select(line, [], 2)
    assert sorted(selection.indices.tolist()) == [1, 4]
    greedy = get_strategy("KCenterSampling").select(Pool(sample_ids(6), {"embeddings": np.array(line, np.float32)}), 2)
    assert radius(np.array(line, np.float32), np.empty((0, 1), np.float32), greedy.indices, 0) == 2.0


def test_outliers_are_left_out_of_the_radius() -> None:
    line = [[0], [1], [2], [6], [7], [8], [1000]]
    assert sorted(select(line, [], 2, outlier_share=0.15).indices.tolist()) == [1, 4]
    assert 6 in select(line, [], 2, outlier_share=0.0).indices


def test_labelled_samples_are_centres_already() -> None:
    assert select([[0], [1], [2], [6], [7], [8]], [[1.0]], 1).indices.tolist() == [4]


def test_ranks_go_by_the_distance_to_what_is_labelled_or_ranked_before() -> None:
    selection = select([[0], [1], [2], [6], [7], [8], [20], [21], [22]], [[-5.0]], 3)
    assert selection.indices.tolist() == [7, 4, 1]
    assert selection.scores.tolist() == [26.0, 12.0, 6.0]


def test_a_budget_beyond_what_the_radius_needs_is_filled_with_the_farthest() -> None:
    rows = [[0, 0], [0, 1], [9, 0], [9, 1], [9, 5]]
    for budget in range(1, 6):
        selection = select(rows, [], budget)
        assert len(set(selection.indices.tolist())) == budget
        assert (np.diff(selection.scores) <= 0).all()


def test_limits_leave_the_best_radius_found_and_never_one_worse_than_greedy() -> None:
    rng = np.random.default_rng(3)
    rows, none = rng.normal(size=(80, 3)).astype(np.float32), np.empty((0, 3), np.float32)
    greedy = get_strategy("KCenterSampling").select(Pool(sample_ids(80), {"embeddings": rows}), 6)
    reached = [
        radius(rows, none, select(rows, [], 6, **limits).indices, 0)
        for limits in ({}, {"node_limit": 1}, {"solver_entries": 0})
    ]
    assert reached == sorted(reached)
    assert reached[0] < reached[2] <= radius(rows, none, greedy.indices, 0)


def test_a_solver_that_may_hold_no_more_entries_answers_none() -> None:
    ring = csr_array(np.eye(7) + np.roll(np.eye(7), 1, axis=1) + np.roll(np.eye(7), 2, axis=1))
    assert Solver(3, 50, entries=20).centres(ring, 1) is not None  # greedy needs no entries
    assert Solver(2, 50, entries=21).centres(ring, 0) is None  # 2 arcs of 3 cannot hold 7
    found = Solver(3, 50, entries=21).centres(ring, 0)
    assert found is not None and (ring.toarray()[:, found].sum(axis=1) >= 1).all()


def test_a_greedy_cover_takes_the_column_that_covers_most_of_what_is_open() -> None:
    covers = csr_array(np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=float))
    found = greedy_cover(covers, 2, 0)
    assert found is not None and found.tolist() == [0, 1]
    assert greedy_cover(covers, 1, 1) is None
    assert greedy_cover(covers, 1, 2) is not None


def test_a_pool_above_the_cap_is_refused_by_the_parameter() -> None:
    with pytest.raises(StrategyError, match=r"at most 3 samples \(max_pool\), not 4") as caught:
        select([[0], [1], [2], [3]], [], 1, max_pool=3)
    assert caught.value.field == "max_pool"
