"""The nearest of many points against all distances one by one, where float32 products mislead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import neighbours
from strategies.distances import squared_distances
from strategies.neighbours import firsts_of_equals, near_pairs, nearest

Rows = NDArray[Any]
KINDS = {
    "plain": (0.0, 1.0, np.float32),
    "far from 0": (1e4, 1e-3, np.float32),
    "float16": (0.0, 1.0, np.float16),
    "tiny": (0.0, 1e-30, np.float32),
    "huge": (1e20, 1e19, np.float32),
    "float64": (0.0, 1.0, np.float64),
}


def problem(kind: str, seed: int = 0) -> tuple[Rows, Rows]:
    """700 rows and 300 points, some of them equal to rows and to one another."""
    offset, noise, dtype = KINDS[kind]
    rng = np.random.default_rng(seed)
    rows = (offset + noise * rng.normal(size=(700, 9))).astype(dtype)
    points = (offset + noise * rng.normal(size=(300, 9))).astype(dtype)
    points[5:100:5] = rows[3:22]
    points[200:] = points[:100]
    return rows, points


def all_squares(rows: Rows, points: Rows) -> NDArray[np.float64]:
    return np.stack([squared_distances(rows, point) for point in points], axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_is_that_of_all_exact_distances_and_the_first_of_equals(kind: str) -> None:
    rows, points = problem(kind)
    squares = all_squares(rows, points)
    found, best = nearest(rows, points)
    assert np.array_equal(found, squares.argmin(axis=1))
    assert np.array_equal(best, squares.min(axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_may_look_at_earlier_points_only(kind: str) -> None:
    rows, points = problem(kind)
    before = np.random.default_rng(1).integers(0, 301, len(rows))
    allowed = np.where(np.arange(300) < before[:, None], all_squares(rows, points), np.inf)
    found, best = nearest(rows, points, before=before)
    assert np.array_equal(best, allowed.min(axis=1))
    assert np.array_equal(found, np.where(before > 0, allowed.argmin(axis=1), -1))


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_are_not_near_enough_do_not_count(kind: str) -> None:
    rows, points = problem(kind)
    least = all_squares(rows, points).min(axis=1)
    distance = float(np.sqrt(np.median(least)))
    found, best = nearest(rows, points, within=distance)
    assert np.array_equal(found >= 0, least < distance * distance)
    assert np.array_equal(best, np.where(least < distance * distance, least, np.inf))


def test_a_distance_that_is_exactly_the_limit_is_not_within_it() -> None:
    rows, points = np.array([[3, 4], [3, 3]], dtype=np.float32), np.zeros((1, 2), dtype=np.float32)
    assert nearest(rows, points, within=5.0)[0].tolist() == [-1, 0]


@pytest.mark.parametrize("blocks", [(1, 1), (7, 3), (1000, 1000)])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, int]) -> None:
    rows, points = problem("far from 0")
    rows, points = rows[:40], points[:90]
    plain = nearest(rows, points)
    monkeypatch.setattr(neighbours, "_ROWS", blocks[0])
    monkeypatch.setattr(neighbours, "_POINTS", blocks[1])
    assert all(np.array_equal(one, other) for one, other in zip(plain, nearest(rows, points), strict=True))


def test_some_rows_of_all_may_be_asked_for() -> None:
    rows, points = problem("plain")
    only = np.array([699, 3, 3, 12])
    assert np.array_equal(nearest(rows, points, only=only)[1], nearest(rows, points)[1][only])


def test_without_rows_or_points_there_is_no_nearest() -> None:
    rows, points = problem("plain")
    assert nearest(rows[:2], points[:0])[0].tolist() == [-1, -1]
    assert len(nearest(rows[:0], points)[0]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_near_pairs_are_all_that_are_nearer_than_the_limit(kind: str) -> None:
    _, points = problem(kind)
    squares = all_squares(points, points)
    distance = float(np.sqrt(np.median(squares)))
    near = np.triu(squares < distance * distance, k=1)
    assert near_pairs(points, distance) == list(zip(*(side.tolist() for side in np.nonzero(near)), strict=True))


def test_the_first_of_equal_points_stands_for_them() -> None:
    points = np.array([[1, 2], [3, 4], [1, 2], [5, 6], [3, 4]], dtype=np.float32)
    assert firsts_of_equals(points).tolist() == [0, 1, 3]
