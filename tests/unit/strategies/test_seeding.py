"""k-means++ draws: their distances against explicit outer products, their chances against all sequences enumerated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strategies import seeding
from strategies.seeding import OuterProducts, plus_plus

Rows = NDArray[Any]


def products(left: Rows, right: Rows) -> OuterProducts:
    def taken(only: Any) -> Any:
        return np.array(left[only], dtype=np.float64, order="C")

    return OuterProducts(right, taken)


def draws(rows: OuterProducts, count: int, seed: int = 0, weights: Rows | None = None) -> list[tuple[int, float]]:
    order = np.arange(len(rows))
    return list(islice(plus_plus(rows, order, np.random.default_rng(seed), weights), count))


def explicit(left: Rows, right: Rows) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = np.einsum("nc,nd->ncd", left.astype(np.float64), right.astype(np.float64))
    return whole.reshape(len(left), -1)


def test_a_draw_comes_with_its_squared_distance_to_the_nearest_drawn_before() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(400, 3)), rng.normal(size=(400, 7)).astype(np.float32) + 5
    whole = explicit(left, right)
    drawn = draws(products(left, right), 300)
    assert drawn[0][1] == pytest.approx((whole[drawn[0][0]] ** 2).sum())
    for number, (row, square) in enumerate(drawn[1:], start=1):
        before = whole[[earlier for earlier, _ in drawn[:number]]]
        assert square == pytest.approx(((before - whole[row]) ** 2).sum(axis=1).min(), rel=1e-9)


def test_small_distances_far_from_0_are_exact() -> None:
    """The error of a product there is larger than distances are."""
    points = 2.0**24 + np.random.default_rng(1).integers(0, 5, size=(200, 3))
    drawn = draws(OuterProducts(points), 200)
    assert len(drawn) == len(np.unique(points, axis=0))
    for number, (row, square) in enumerate(drawn[1:], start=1):
        before = points[[earlier for earlier, _ in drawn[:number]]]
        assert square == ((before - points[row]) ** 2).sum(axis=1).min()


@settings(max_examples=60, deadline=None)
@given(
    rows=hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(3, 20)), elements=st.integers(-2, 2)),
    scale=st.sampled_from([1.0, 1 / 3, 1e30, 1e-30]),
    seed=st.integers(0, 5),
)
def test_equal_rows_are_at_distance_0_exactly_and_only_one_of_them_is_drawn(
    rows: Rows, scale: float, seed: int
) -> None:
    twice = np.concatenate([rows, rows]) * np.float32(scale)
    left, right = twice[:, :2], twice[:, 2:]
    whole = explicit(left, right)
    drawn = [row for row, _ in draws(products(left, right), len(twice) + 1, seed)]
    assert len(np.unique(whole[drawn], axis=0)) == len(drawn) == len(np.unique(whole, axis=0))


def chances(whole: Rows, weights: Rows, count: int) -> dict[tuple[int, ...], float]:
    """Of every sequence of `count` rows, by the definition."""
    squares = ((whole[:, None] - whole[None]) ** 2).sum(axis=2)
    found = {}
    for sequence in permutations(range(len(whole)), count):
        chance = weights[sequence[0]] / weights.sum()
        for number in range(1, count):
            mass = weights * squares[:, sequence[:number]].min(axis=1)
            chance *= mass[sequence[number]] / mass.sum()
        found[sequence] = chance
    return found


@pytest.mark.parametrize("least_waiting", [1, 5])
@pytest.mark.parametrize("weights", [np.ones(6), np.array([1.0, 0.0, 2.0, 1.0, 0.5, 3.0])])
def test_sequences_are_drawn_with_the_chances_of_k_means_plus_plus(
    monkeypatch: pytest.MonkeyPatch, least_waiting: int, weights: Rows
) -> None:
    """Also while distances are out of date, and draws are thinned out by true ones."""
    monkeypatch.setattr(seeding, "_LEAST_WAITING", least_waiting)
    points = np.array([[0, 0], [1, 0], [0, 1], [4, 4], [5, 4], [-3, 2]], dtype=np.float64)
    rows, trials = OuterProducts(points), 1000
    expected = chances(points, weights, 4)
    seen = dict.fromkeys(expected, 0)
    for seed in range(trials):
        seen[tuple(row for row, _ in draws(rows, 4, seed, weights))] += 1
    for place in range(4):
        for row in range(6):
            chance = sum(value for sequence, value in expected.items() if sequence[place] == row)
            count = sum(value for sequence, value in seen.items() if sequence[place] == row)
            assert abs(count - trials * chance) <= 5 * np.sqrt(trials * chance * (1 - chance))


def test_draws_end_when_no_row_of_weight_is_left_at_a_distance() -> None:
    points = np.arange(8.0)[:, None]
    assert sorted(row for row, _ in draws(OuterProducts(points), 20)) == list(range(8))
    weights = np.array([0, 1, 0, 1, 0, 1, 0, 1.0])
    assert sorted(row for row, _ in draws(OuterProducts(points), 20, weights=weights)) == [1, 3, 5, 7]


@pytest.mark.parametrize("scale", [1e-36, 1e-18, 1e18, 1e36])
def test_the_scale_of_the_rows_does_not_matter(scale: float) -> None:
    right = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    plain = [row for row, _ in draws(OuterProducts(right * np.float32(2**10)), 60)]
    power = np.float32(2.0 ** np.round(np.log2(scale)))
    assert [row for row, _ in draws(OuterProducts(right * power), 60)] == plain


def test_the_number_of_threads_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    rows = products(rng.normal(size=(3000, 4)), rng.normal(size=(3000, 65)).astype(np.float32))
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(draws(rows, 400))
    assert results[0] == results[1]


def test_few_pairs_are_computed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0
    plain: Callable[..., Rows] = seeding._distances

    def spy(sums: Rows, left: Rows, right: Rows) -> Rows:
        nonlocal computed
        computed += len(sums)
        return plain(sums, left, right)

    monkeypatch.setattr(seeding, "_distances", spy)
    draws(OuterProducts(np.random.default_rng(3).normal(size=(2000, 32)) + 100), 400)
    assert computed < 0.03 * 2000 * 400
