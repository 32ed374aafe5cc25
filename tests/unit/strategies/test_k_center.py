"""K-Center Greedy against hand-worked cases, a naive version, and what floating point does to both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from strategies import Pool, Selection, get_strategy, k_center
from strategies.distances import squared_distances
from strategies.ranking import hash_keys
from tests.support.pools import sample_ids

Rows = NDArray[Any]


def select(rows: Rows, budget: int, labelled: Rows | None = None, *, seed: int = 0) -> Selection:
    features = {"embeddings": rows} | ({} if labelled is None else {"labelled_embeddings": labelled})
    return get_strategy("KCenterSampling").select(Pool(sample_ids(len(rows)), features, seed), budget)


def on_a_line(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)[:, None]


def naive(rows: Rows, budget: int, labelled: Rows, seed: int = 0) -> list[int]:
    """All distances, in float64 differences, ties by key; for labelled pools."""
    keys = hash_keys(sample_ids(len(rows)), seed)
    wide = rows.astype(np.float64)
    centres = list(labelled.astype(np.float64))
    left, chosen = set(range(len(rows))), []
    for _ in range(budget):
        nearest = {row: min(float(((wide[row] - centre) ** 2).sum()) for centre in centres) for row in left}
        best = min(left, key=lambda row: (-nearest[row], keys[row]))
        left.remove(best)
        chosen.append(best)
        centres.append(wide[best])
    return chosen


@pytest.mark.shows("KCenterSampling", "positions worked out by hand: cold start at the most central")
def test_a_cold_start_takes_the_most_central_then_the_farthest() -> None:
    # The mean is 5.2; from 4 the farthest is 11, then 0 is 4 away from the nearest, then 10 and 1 tie at 1.
    selection = select(on_a_line(0, 1, 10, 11, 4), 5)
    assert selection.indices[:3].tolist() == [4, 3, 0]
    assert set(selection.indices[3:].tolist()) == {1, 2}
    assert selection.scores.tolist() == [7.0, 7.0, 4.0, 1.0, 1.0]


@pytest.mark.shows("KCenterSampling", "labelled samples count as chosen")
def test_labelled_samples_count_as_chosen() -> None:
    # Nearest labelled: 0 for the first, 1, 5 and 6 for the others, then 10 covers 11 but for 1.
    selection = select(on_a_line(0, 1, 10, 11), 4, on_a_line(0, 5))
    assert selection.indices[0] == 3
    assert set(selection.indices[1:3].tolist()) == {1, 2}
    assert selection.indices[3] == 0
    assert selection.scores.tolist() == [6.0, 1.0, 1.0, 0.0]


@pytest.mark.shows("KCenterSampling", "the score is the Euclidean distance at the time of choice")
def test_the_score_is_the_euclidean_distance_when_chosen() -> None:
    rows = np.array([[0, 0], [3, 4], [6, 8]], dtype=np.float32)
    assert select(rows, 3, rows[:1]).scores.tolist() == [10.0, 5.0, 0.0]


def test_a_larger_budget_begins_with_the_smaller_one() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    small, large = select(rows, 10), select(rows, 60)
    assert large.indices[:10].tolist() == small.indices.tolist()
    assert large.scores[:10].tolist() == small.scores.tolist()


@pytest.mark.shows("KCenterSampling", "duplicates come last and never twice")
def test_duplicates_of_what_is_covered_come_last_and_never_twice() -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32), 5, axis=0)
    selection = select(rows, 100)
    assert {row // 5 for row in selection.indices[:20].tolist()} == set(range(20))
    assert (selection.scores[:20] > 0).all() and (selection.scores[20:] == 0).all()
    assert len(set(selection.indices.tolist())) == 100


def test_a_pool_that_is_labelled_already_is_ordered_by_key() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    selection = select(rows, 4, rows)
    assert selection.indices.tolist() == np.argsort(hash_keys(sample_ids(10), 0))[:4].tolist()
    assert selection.scores.tolist() == [0.0] * 4


@pytest.mark.shows("KCenterSampling", "near-duplicates in float32 are not chosen first")
def test_near_duplicates_are_not_chosen_first() -> None:
    """With |x|^2 + |c|^2 - 2xc in float32 their distance is noise, or NaN after the root."""
    rng = np.random.default_rng(0)
    rows = (1000 + rng.normal(size=(60, 64))).astype(np.float32)
    rows[30:] = np.nextafter(rows[:30], np.float32(np.inf))
    selection = select(rows, 60)
    assert {row % 30 for row in selection.indices[:30].tolist()} == set(range(30))
    assert 0 < selection.scores[30:].max() < 0.01


@pytest.mark.shows("KCenterSampling", "the naive algorithm, with all its ties, on random problems")
@settings(max_examples=60, deadline=None)
@given(
    rows=hnp.arrays(np.float32, st.tuples(st.integers(1, 14), st.integers(1, 3)), elements=st.integers(-3, 3)),
    labelled=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_whole_numbers_give_the_naive_result_with_all_its_ties(rows: Rows, labelled: int, seed: int) -> None:
    start = rows[:labelled] + np.float32(1)
    selection = select(rows, len(rows), start, seed=seed)
    assert selection.indices.tolist() == naive(rows, len(rows), start, seed)


@pytest.mark.shows("KCenterSampling", "the naive algorithm, far from the origin")
@pytest.mark.parametrize("offset", [0.0, 30.0, 3000.0, 1e6])
def test_an_offset_that_eats_the_precision_of_products_gives_the_naive_result(offset: float) -> None:
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(80, 40)) + offset).astype(np.float32)
    labelled = (rng.normal(size=(5, 40)) + offset).astype(np.float32)
    assert select(rows, 40, labelled).indices.tolist() == naive(rows, 40, labelled)


@pytest.mark.parametrize("exponent", [-140, -100, -60, 60, 100, 126])
def test_the_scale_of_the_embeddings_does_not_matter(exponent: int) -> None:
    """Squares of 1e-30 vanish in float32 and those of 1e30 overflow."""
    rows = np.random.default_rng(2).integers(-8, 8, size=(50, 6)).astype(np.float32) / 8
    plain, scaled = select(rows, 50), select(np.ldexp(rows, exponent), 50)
    assert scaled.indices.tolist() == plain.indices.tolist()
    assert scaled.scores.tolist() == np.ldexp(plain.scores, exponent).tolist()


def test_a_few_rows_of_another_scale_do_not_disturb_the_rest() -> None:
    rows = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)
    rows[:20] *= np.float32(1e-23)  # products of these vanish in float32
    labelled = np.full((1, 4), 1e8, dtype=np.float32)
    assert select(rows, 40, labelled).indices.tolist() == naive(rows, 40, labelled)


@pytest.mark.shows("KCenterSampling", "float16, float32 and float64 select alike")
def test_float16_and_float64_select_as_float32_does() -> None:
    rows = np.random.default_rng(4).normal(size=(70, 9)).astype(np.float16)
    expected = select(rows.astype(np.float32), 30)
    for kind in (np.float16, np.float64):
        selection = select(rows.astype(kind), 30)
        assert selection.indices.tolist() == expected.indices.tolist()
        assert selection.scores.tolist() == expected.scores.tolist()


def test_a_permuted_pool_gives_the_same_ids_and_scores_to_the_last_bit() -> None:
    rng = np.random.default_rng(5)
    rows = rng.choice([-1.0, 1.0], size=(500, 33)).astype(np.float32) + rng.normal(scale=1e-6, size=(500, 33))
    rows = rows.astype(np.float32)
    ids, plain = sample_ids(500), select(rows, 200)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(500)
        pool = Pool([ids[row] for row in order], {"embeddings": rows[order]})
        moved = get_strategy("KCenterSampling").select(pool, 200)
        assert order[moved.indices].tolist() == plain.indices.tolist()
        assert moved.scores.tolist() == plain.scores.tolist()


@pytest.mark.shows("KCenterSampling", "the number of BLAS threads changes nothing")
def test_the_number_of_threads_changes_nothing() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rows = np.random.default_rng(6).normal(size=(3000, 65)).astype(np.float32)
    results = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads):
            results.append(select(rows, 100))
    assert results[0].indices.tolist() == results[1].indices.tolist()
    assert results[0].scores.tolist() == results[1].scores.tolist()


def test_most_rows_are_screened_and_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0

    def spy(rows: Rows, point: Rows, only: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        nonlocal computed
        computed += len(rows) if only is None else len(only)
        return squared_distances(rows, point, only)

    monkeypatch.setattr(k_center, "squared_distances", spy)
    select(np.random.default_rng(7).normal(size=(2000, 64)).astype(np.float32), 400)
    assert computed < 0.05 * 2000 * 400
