"""Each next ball holds the most samples yet uncovered: by hand, and against a matrix of all distances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, balls, get_strategy, prob_cover, purity
from strategies.balls import Balls
from strategies.distances import Squares
from strategies.neighbours import pair_squares
from strategies.prob_cover import ProbCover
from strategies.ranking import Indices, TieBreaker
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


def assert_is_that_of_a_matrix(rows: Rows, labelled: Rows, delta: float, budget: int) -> None:
    pool = Pool(sample_ids(len(rows)), {"embeddings": rows, "labelled_embeddings": labelled})
    selection = ProbCover(delta=delta).select(pool, budget)
    chosen, gains = by_matrix(rows, labelled, delta, budget, pool.ties)
    assert selection.indices[: len(chosen)].tolist() == chosen
    assert selection.scores.tolist() == gains + [0.0] * (budget - len(gains))


def set_random_blocks(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(balls, "_SIDE", int(rng.integers(1, 9)))
    monkeypatch.setattr(prob_cover, "_POINTS", int(rng.integers(1, 7)))
    monkeypatch.setattr(prob_cover, "_STORED_PER_ROW", int(rng.integers(0, 4)))  # 0: all are found anew


@pytest.mark.shows("ProbCover", "equals the greedy cover of an explicit matrix on 300 random problems, in any blocks")
def test_the_cover_is_that_of_a_matrix_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for problem in range(300):
        set_random_blocks(monkeypatch, rng)
        size, near, width = (int(rng.integers(low, high)) for low, high in ((1, 25), (0, 4), (1, 4)))
        draw = rng.normal if problem % 2 else rng.integers
        rows, labelled = (draw(0, 4, size=(count, width)).astype(np.float32) for count in (size, near))
        delta, budget = float(rng.choice([0.0, 1.0, 2.0, 1e3])), int(rng.integers(1, size + 1))
        assert_is_that_of_a_matrix(rows, labelled, delta, budget)


def test_the_cover_is_that_of_a_matrix_where_few_rows_are_distinct(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for problem in range(300):
        set_random_blocks(monkeypatch, rng)
        size, kinds, near = (int(rng.integers(low, high)) for low, high in ((1, 60), (1, 12), (0, 6)))
        width = int(rng.integers(1, 5))
        distinct = [
            rng.integers(-1, 2, size=(kinds, width)) * rng.choice([-1.0, 1.0], size=(kinds, width)),  # with -0.0
            np.eye(max(kinds, width))[:kinds],
            rng.normal(size=(kinds, width)),
        ][problem % 3].astype(np.float32)
        skewed = rng.integers(0, kinds, size=(2, size)).min(axis=0)  # some rows have many more copies than others
        delta = float(rng.choice([0.0, 1.0, np.sqrt(2), np.nextafter(np.sqrt(2), 0), 2.0, 1e3]))
        labelled = distinct[rng.integers(0, kinds, size=near)]
        assert_is_that_of_a_matrix(distinct[skewed], labelled, delta, int(rng.integers(1, size + 1)))


@pytest.mark.parametrize("kinds", [1, 20])
def test_copies_cost_no_distances(kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counted(ones: Rows, others: Rows, left: Indices, right: Indices) -> Squares:
        computed.append(len(left))
        return pair_squares(ones, others, left, right)

    monkeypatch.setattr(balls, "pair_squares", counted)
    rows = np.eye(64, dtype=np.float32)[np.arange(2000) % kinds]
    selection = ProbCover().select(Pool(sample_ids(2000), {"embeddings": rows}), 30)
    assert selection.scores.tolist() == [2000.0 / kinds] * kinds + [0.0] * (30 - kinds)
    assert sum(computed) < 10 * kinds**2


def test_copies_of_what_is_chosen_come_when_all_is_covered() -> None:
    rows = line(0, 0, 0, 5, 5, 9)
    selection = ProbCover(delta=1.0).select(Pool(sample_ids(6), {"embeddings": rows}), 6)
    assert selection.scores.tolist() == [3.0, 2.0, 1.0, 0.0, 0.0, 0.0]
    assert rows[selection.indices, 0].tolist()[:3] == [0, 5, 9]


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


def test_the_radius_counts_every_copy_of_a_row() -> None:
    rows = line(0, 1, 2, 10, 11, 12)
    order = np.array([0] * 9 + [1, 2, 3, 4, 5])  # of 14 balls 10 reach 10 far, so the purer half is made of those
    square = purity.pure_square(rows, order, 2, 0.5, np.random.default_rng(0), Balls(rows))
    assert square == np.nextafter(10.0**2, 0)


def test_the_radius_is_estimated_from_as_many_clusters_as_there_are_classes() -> None:
    pool = Pool(sample_ids(9), {"embeddings": line(0, 1, 2, 10, 11, 12, 30, 31, 32)})
    selection = get_strategy("ProbCover", {"n_classes": 3}).select(pool, 3)
    assert selection.scores.tolist() == [3.0, 3.0, 3.0]
    assert sorted(place // 3 for place in selection.indices.tolist()) == [0, 1, 2]


def test_the_radius_is_estimated_from_ten_clusters_whatever_else_the_pool_holds() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    features = {"embeddings": rows}
    with_others = features | {"probabilities": np.full((60, 3), 1 / 3, dtype=np.float32)}
    ten = ProbCover(n_classes=10).select(Pool(sample_ids(60), features), 30)
    assert ten.scores.tolist() != ProbCover(n_classes=3).select(Pool(sample_ids(60), features), 30).scores.tolist()
    for held in (features, with_others):
        selection = ProbCover().select(Pool(sample_ids(60), held), 30)
        assert selection.indices.tolist() == ten.indices.tolist()
        assert selection.scores.tolist() == ten.scores.tolist()


def test_equal_samples_make_one_cluster_and_one_ball() -> None:
    selection = ProbCover().select(Pool(sample_ids(8), {"embeddings": np.ones((8, 2), np.float32)}), 3)
    assert selection.scores.tolist() == [8.0, 0.0, 0.0]
