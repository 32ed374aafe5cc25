"""Distances and means that no position and no order changes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from strategies.blocks import row_blocks
from strategies.distances import exact_mean, squared_distances

Rows = NDArray[np.float32]
some_rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.integers(1, 5)),
    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
)


def test_distances_are_those_worked_out_by_hand() -> None:
    rows = np.array([[0, 0], [3, 4], [-1, 1]], dtype=np.float32)
    assert squared_distances(rows, np.zeros(2, dtype=np.float32)).tolist() == [0.0, 25.0, 2.0]
    assert squared_distances(rows, rows[1], np.array([2, 1])).tolist() == [25.0, 0.0]


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 127, 128, 129, 500, 512, 1000, 9000])
def test_a_distance_does_not_depend_on_where_the_row_stands(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(300, width)).astype(np.float32)
    whole = squared_distances(rows, rows[0])
    alone = np.array([squared_distances(row[None], rows[0])[0] for row in rows])
    assert np.array_equal(whole, alone)
    assert np.array_equal(whole, squared_distances(np.asfortranarray(rows), rows[0]))
    assert np.array_equal(whole[::-1], squared_distances(rows[::-1], rows[0]))
    assert np.array_equal(whole[1::3], squared_distances(rows, rows[0], np.arange(1, 300, 3)))


def test_a_near_duplicate_is_at_its_true_distance() -> None:
    point = np.full(512, 1000.0, dtype=np.float32)
    near = point.copy()
    near[0] = np.nextafter(near[0], np.float32(np.inf))
    assert squared_distances(np.stack([point, near]), point).tolist() == [0.0, float(near[0] - point[0]) ** 2]


@given(some_rows)
def test_distances_are_finite_for_whatever_float32_holds(rows: Rows) -> None:
    squares = squared_distances(rows, rows[0])
    assert np.isfinite(squares).all() and (squares >= 0).all() and squares[0] == 0


@given(rows=some_rows, random=st.randoms(use_true_random=False))
def test_the_mean_is_the_same_in_every_order(rows: Rows, random: object) -> None:
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(rows))  # type: ignore[attr-defined]
    assert np.array_equal(exact_mean(rows), exact_mean(rows[order]))


@given(some_rows)
def test_the_mean_is_as_near_the_true_one_as_float64_can_say(rows: Rows) -> None:
    largest = Fraction(float(np.abs(rows).max()))
    for column, mean in zip(rows.T.tolist(), exact_mean(rows).tolist(), strict=True):
        true = sum(map(Fraction, column), Fraction(0)) / len(column)
        assert abs(Fraction(mean) - true) <= largest / 2**51


def test_plain_sums_do_depend_on_the_order() -> None:
    """Why `exact_mean` exists: if this fails some day, it may go."""
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    assert not np.array_equal(rows.mean(axis=0), rows[::-1].mean(axis=0))


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (10, 3), (3, 2**18), (100_000, 7), (5, 0)])
def test_blocks_cover_every_row_once(shape: tuple[int, int]) -> None:
    array = np.broadcast_to(np.float32(0), shape)
    rows = [row for block in row_blocks(array) for row in range(block.start, block.stop)]
    assert rows == list(range(shape[0]))
