"""Each next ball holds the most samples yet uncovered: by hand, and against a matrix of all distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, balls, get_strategy, prob_cover, purity
from strategies.balls import Balls
from strategies.prob_cover import ProbCover
from strategies.ranking import TieBreaker
from tests.support.pools import sample_ids

Rows = NDArray[np.float32]


def line(*places: float) -> Rows:
    return np.array(places, dtype=np.float32)[:, None]


def by_matrix(rows: Rows, labelled: Rows, delta: float, budget: int, ties: TieBreaker) -> tuple[list[int], list[int]]:
    """The greedy cover, from all distances at once."""
    points = np.concatenate([rows, labelled]).astype(float)
    is_near = np.square(points[:, None] - points[None]).sum(axis=2) <= delta * delta
    is_open = ~is_near[len(rows) :, : len(rows)].any(axis=0)
    chosen: list[int] = []
    gains: list[int] = []
    while len(chosen) < budget and is_open.any():
        degrees = is_near[: len(rows), : len(rows)][:, is_open].sum(axis=1)
        chosen.append(ties.first(np.flatnonzero(degrees == degrees.max())))
        gains.append(int(degrees.max()))
        is_open &= ~is_near[chosen[-1], : len(rows)]
    return chosen, gains


@pytest.mark.shows("ProbCover", "equals the greedy cover of an explicit matrix on 300 random problems, in any blocks")
def test_the_cover_is_that_of_a_matrix_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for problem in range(300):
        monkeypatch.setattr(balls, "_SIDE", int(rng.integers(1, 9)))
        monkeypatch.setattr(prob_cover, "_POINTS", int(rng.integers(1, 7)))
        monkeypatch.setattr(prob_cover, "_STORED_PER_ROW", int(rng.integers(0, 4)))  # 0: all are found anew
        size, near, width = (int(rng.integers(low, high)) for low, high in ((1, 25), (0, 4), (1, 4)))
        draw = rng.normal if problem % 2 else rng.integers
        rows, labelled = (draw(0, 4, size=(count, width)).astype(np.float32) for count in (size, near))
        delta, budget = float(rng.choice([0.0, 1.0, 2.0, 1e3])), int(rng.integers(1, size + 1))
        pool = Pool(sample_ids(size), {"embeddings": rows, "labelled_embeddings": labelled})
        selection = ProbCover(delta=delta).select(pool, budget)
        chosen, gains = by_matrix(rows, labelled, delta, budget, pool.ties)
        assert selection.indices[: len(chosen)].tolist() == chosen
        assert selection.scores.tolist() == gains + [0.0] * (budget - len(gains))


@pytest.mark.shows("ProbCover", "a hand-worked cover on a line")
def test_the_ball_with_most_uncovered_samples_is_first_and_its_samples_leave() -> None:
    rows = line(0, 1, 2, 10, 11, 50)
    selection = ProbCover(delta=1.0).select(Pool(sample_ids(6), {"embeddings": rows}), 3)
    assert selection.indices[0] == 1
    assert selection.indices[1] in (3, 4)
    assert selection.indices[2] == 5
    assert selection.scores.tolist() == [3.0, 2.0, 1.0]


def test_labelled_samples_cover_at_the_start() -> None:
    features = {"embeddings": line(0, 1, 2, 10, 11, 50), "labelled_embeddings": line(1.0)}
    selection = ProbCover(delta=1.0).select(Pool(sample_ids(6), features), 2)
    assert selection.scores.tolist() == [2.0, 1.0]
    assert not {0, 1, 2} & set(selection.indices.tolist())


def test_when_all_is_covered_the_sample_farthest_from_what_is_chosen_follows_with_score_zero() -> None:
    selection = ProbCover(delta=5.0).select(Pool(sample_ids(4), {"embeddings": line(0, 1, 4, 4.5)}), 4)
    assert selection.scores.tolist() == [4.0, 0.0, 0.0, 0.0]
    first = int(selection.indices[0])
    rows = [0, 1, 4, 4.5]
    assert selection.indices[1] == max(range(4), key=lambda row: abs(rows[row] - rows[first]))


@pytest.mark.shows("ProbCover", "a hand-worked radius from the purity of two clusters on a line")
@pytest.mark.parametrize(("share", "radius"), [(0.95, 8.0), (0.5, 9.0), (0.2, 10.0)])
def test_the_radius_is_the_largest_whose_balls_are_pure(share: float, radius: float) -> None:
    rows = line(0, 1, 2, 10, 11, 12)  # 10, 9, 8, 8, 9, 10 away from the other cluster
    square = purity.pure_square(rows, np.arange(6), 2, share, np.random.default_rng(0), Balls(rows))
    assert square == np.nextafter(radius**2, 0)


def test_the_radius_is_estimated_from_as_many_clusters_as_there_are_classes() -> None:
    rows = line(0, 1, 2, 10, 11, 12, 30, 31, 32)
    three = {"probabilities": np.full((9, 3), 1 / 3, dtype=np.float32)}
    parameters: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, three), ({"n_classes": 3}, {})]
    for given, features in parameters:
        pool = Pool(sample_ids(9), {"embeddings": rows} | features)
        selection = get_strategy("ProbCover", given).select(pool, 3)
        assert selection.scores.tolist() == [3.0, 3.0, 3.0]
        assert sorted(place // 3 for place in selection.indices.tolist()) == [0, 1, 2]


def test_equal_samples_make_one_cluster_and_one_ball() -> None:
    selection = ProbCover().select(Pool(sample_ids(8), {"embeddings": np.ones((8, 2), np.float32)}), 3)
    assert selection.scores.tolist() == [8.0, 0.0, 0.0]
