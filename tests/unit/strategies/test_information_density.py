"""Uncertainty times density: typical samples come before outliers, exactly and in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, StrategyError, get_strategy
from strategies.information_density import directions, neighbour_density, pool_density
from tests.support.pools import probabilities, sample_ids

Array = NDArray[Any]
EVERY_COSINE = np.array([[1, 0], [0, 2], [-3, 0], [1, 1]], dtype=np.float32)


def select(p: Array, rows: Array, budget: int, *, seed: int = 0, **parameters: Any) -> Selection:
    pool = Pool(sample_ids(len(rows)), {"probabilities": p, "embeddings": rows}, seed)
    return get_strategy("InformationDensity", parameters).select(pool, budget)


def even(size: int) -> Array:
    return np.full((size, 2), 0.5, dtype=np.float32)


def similarities(rows: Array) -> Array:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((1 + unit @ unit.T) / 2)


@pytest.mark.shows("InformationDensity", "densities worked out by hand")
def test_density_is_the_mean_similarity_worked_out_by_hand() -> None:
    half = np.sqrt(0.5)
    cosines = [(1 + 0 - 1 + half) / 4, (0 + 1 + 0 + half) / 4, (-1 + 0 + 1 - half) / 4, (half + half - half + 1) / 4]
    assert pool_density(EVERY_COSINE).tolist() == pytest.approx([(1 + mean) / 2 for mean in cosines], abs=1e-8)


@pytest.mark.shows("InformationDensity", "nearest neighbours worked out by hand")
def test_neighbours_are_the_nearest_others_worked_out_by_hand() -> None:
    nearest = [np.sqrt(0.5), np.sqrt(0.5), 0.0, np.sqrt(0.5)]
    density = neighbour_density(EVERY_COSINE, np.arange(4), 1)
    assert density.tolist() == pytest.approx([(1 + cosine) / 2 for cosine in nearest], abs=1e-8)


@pytest.mark.shows("InformationDensity", "an outlier as uncertain as the crowd comes last")
def test_an_outlier_as_uncertain_as_the_crowd_comes_last() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)) * 0.1 + [1, 0, 0, 0, 0, 0, 0, 0]
    rows[17] *= -1
    for neighbours in (None, 5):
        selection = select(even(50), rows.astype(np.float32), 50, neighbours=neighbours)
        assert selection.indices[-1] == 17
        assert selection.parts["density"][-1] < 0.6 < 0.9 < selection.parts["density"][-2]


def test_a_certain_sample_comes_last_however_typical() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], dtype=np.float32)
    selection = select(p, np.array([[1, 0], [1, 0.1], [-1, 0.5]], dtype=np.float32), 3)
    assert selection.indices.tolist() == [1, 2, 0]
    assert selection.scores[-1] == 0


def test_the_score_is_the_product_of_its_parts() -> None:
    rng = np.random.default_rng(1)
    selection = select(probabilities(rng, 80), rng.normal(size=(80, 6)).astype(np.float32), 80, beta=2.5)
    parts = selection.parts
    assert selection.scores.tolist() == pytest.approx((parts["uncertainty"] * parts["density"] ** 2.5).tolist())


@pytest.mark.parametrize(
    ("uncertainty", "strategy"),
    [
        ("entropy", "EntropySampling"),
        ("least_confidence", "LeastConfidence"),
        ("margin_confidence", "MarginConfidence"),
        ("ratio_confidence", "RatioConfidence"),
    ],
)
def test_without_weight_of_density_it_is_the_measure_of_uncertainty(uncertainty: str, strategy: str) -> None:
    rng = np.random.default_rng(2)
    p, rows = probabilities(rng, 100), rng.normal(size=(100, 5)).astype(np.float32)
    plain = get_strategy(strategy).select(Pool(sample_ids(100), {"probabilities": p}), 100)
    selection = select(p, rows, 100, beta=0, uncertainty=uncertainty)
    # Of rows whose sum is a little more than 1 it takes what is below 0 as 0; they come last either way.
    above = plain.scores > 0
    assert selection.indices[above].tolist() == plain.indices[above].tolist()
    assert selection.scores.tolist() == np.maximum(plain.scores, 0).tolist()


def test_beta_moves_the_choice_from_the_uncertain_to_the_typical() -> None:
    p = np.array([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]], dtype=np.float32)
    rows = np.array([[-1, 0.2], [1, 0], [1, 0.1]], dtype=np.float32)
    assert select(p, rows, 1, beta=0).indices.tolist() == [0]
    assert select(p, rows, 1, beta=1).indices.tolist() == [1]


@pytest.mark.shows("InformationDensity", "densities equal those of all similarities, by brute force")
@pytest.mark.parametrize("neighbours", [1, 7, 59, 1000])
def test_densities_are_those_of_all_similarities(neighbours: int) -> None:
    rows = np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32)
    of_all = similarities(rows.astype(np.float64))
    assert pool_density(rows).tolist() == pytest.approx(of_all.mean(axis=1).tolist(), abs=1e-8)
    np.fill_diagonal(of_all, -1)
    expected = np.sort(of_all, axis=1)[:, 1:][:, -neighbours:].mean(axis=1)
    assert neighbour_density(rows, np.arange(60), neighbours).tolist() == pytest.approx(expected.tolist(), abs=1e-7)


def test_a_sample_of_the_reference_is_not_its_own_neighbour() -> None:
    rows = np.eye(6, dtype=np.float32)
    assert neighbour_density(rows, np.array([1, 4]), 1).tolist() == [0.5] * 6


def test_the_order_of_the_reference_changes_no_bit() -> None:
    rows = np.random.default_rng(9).normal(size=(300, 7)).astype(np.float32)
    order = np.random.default_rng(0).permutation(300)
    assert neighbour_density(rows, order, 100).tolist() == neighbour_density(rows, np.arange(300), 100).tolist()


def test_copies_of_a_sample_are_its_neighbours() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
    assert neighbour_density(rows, np.arange(6), 1).tolist() == pytest.approx([1.0] * 6, abs=1e-7)


def test_neighbours_of_a_drawn_reference_are_near_those_of_the_pool() -> None:
    rows = np.random.default_rng(4).normal(size=(400, 8)).astype(np.float32)
    rows[:200] += 3
    drawn = select(even(400), rows, 400, neighbours=20, reference=100)
    assert (drawn.indices[:200] < 200).mean() > 0.95


def test_a_reference_is_drawn_by_seed() -> None:
    rows = np.random.default_rng(5).normal(size=(100, 4)).astype(np.float32)
    one, again, other = (
        select(even(100), rows, 100, neighbours=3, reference=10, seed=seed).scores.tolist() for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.shows("InformationDensity", "one BLAS thread or two give the same bits")
@pytest.mark.parametrize("neighbours", [None, 4])
def test_the_order_of_the_pool_changes_no_bit_with_one_thread_or_two(neighbours: int | None) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rng = np.random.default_rng(6)
    ids, p, rows = sample_ids(700), probabilities(rng, 700), rng.normal(size=(700, 65)).astype(np.float32)
    strategy = get_strategy("InformationDensity", {"neighbours": neighbours, "reference": 300})
    plain = strategy.select(Pool(ids, {"probabilities": p, "embeddings": rows}), 700)
    for threads in (1, 2):
        order = rng.permutation(700)
        pool = Pool([ids[row] for row in order], {"probabilities": p[order], "embeddings": rows[order]})
        with threadpoolctl.threadpool_limits(threads):
            moved = strategy.select(pool, 700)
        assert order[moved.indices].tolist() == plain.indices.tolist()
        assert moved.scores.tolist() == plain.scores.tolist()


@pytest.mark.parametrize("exponent", [-900, -149, 60, 120])
def test_the_length_of_an_embedding_does_not_matter(exponent: int) -> None:
    rows = np.random.default_rng(7).integers(-8, 8, size=(40, 6)).astype(np.float64)
    assert pool_density(np.ldexp(rows, exponent)).tolist() == pool_density(rows).tolist()


def test_a_row_of_zeros_is_half_like_everything() -> None:
    rows = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert pool_density(rows)[0] == 0.5
    assert neighbour_density(rows, np.arange(3), 2)[0] == 0.5


def test_products_of_directions_do_not_round() -> None:
    unit = directions(np.random.default_rng(8).normal(size=(50, 999)))
    whole = np.rint(unit * 2**26).astype(np.int64)
    assert np.array_equal(unit, whole / 2**26)
    exact = np.array([[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) for y in whole[:5]] for x in whole[:5]])
    assert np.array_equal(unit[:5] @ unit[:5].T * 2.0**52, exact.astype(np.float64))


def test_rows_that_sum_to_more_than_one_are_not_turned_round() -> None:
    p = np.array([[1.0005, 0.0], [1.0005, 0.0]], dtype=np.float32)
    assert select(p, np.eye(2, dtype=np.float32), 2).scores.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [{"beta": -1}, {"neighbours": 0}, {"reference": 1}, {"uncertainty": "variance"}])
def test_parameters_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StrategyError) as caught:
        get_strategy("InformationDensity", wrong)
    assert caught.value.field == next(iter(wrong))
