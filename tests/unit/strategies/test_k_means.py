"""K-means sampling: exactly as many distinct samples as asked for, whatever k-means makes of the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from strategies import Pool, Selection, clustering, get_strategy, representatives
from tests.support.pools import embeddings, sample_ids

Rows = NDArray[Any]


def select(rows: Rows, budget: int, seed: int = 0) -> Selection:
    return get_strategy("KMeansSampling").select(Pool(sample_ids(len(rows)), {"embeddings": rows}, seed), budget)


def on_a_line(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)[:, None]


@pytest.mark.shows("KMeansSampling", "centres worked out by hand, the largest cluster first")
def test_the_sample_nearest_to_each_centre_is_chosen_and_the_largest_cluster_first() -> None:
    # Clusters 0 1 2 3.5 with its centre at 1.625, and 100 101 102.5 at 101.17.
    selection = select(on_a_line(0, 100, 1, 101, 2, 102.5, 3.5), 2)
    assert selection.indices.tolist() == [4, 3]
    assert selection.scores.tolist() == [4, 3]
    assert selection.parts["distance_to_centre"].tolist() == pytest.approx([0.375, 1 / 6], abs=1e-5)


@pytest.mark.shows("KMeansSampling", "one sample of each blob that lies apart, by Lloyd and by mini-batches")
@pytest.mark.parametrize("work", [0, 10**18])
def test_each_blob_gives_one(monkeypatch: pytest.MonkeyPatch, work: int) -> None:
    monkeypatch.setattr(clustering, "LLOYD_WORK", work)
    rng = np.random.default_rng(0)
    rows = (100 * np.repeat(rng.permutation(40), 25)[:, None] + rng.normal(size=(1000, 4))).astype(np.float32)
    selection = select(rows, 40)
    assert sorted(row // 25 for row in selection.indices.tolist()) == list(range(40))
    assert selection.scores.tolist() == [25.0] * 40


@pytest.mark.shows("KMeansSampling", "exactly b distinct samples among duplicates, by Lloyd and by mini-batches")
@pytest.mark.parametrize("work", [0, 10**18])
@settings(max_examples=40, deadline=None)
@given(
    rows=hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.integers(-2, 2)),
    budget=st.integers(1, 30),
)
def test_duplicates_leave_nothing_out_and_nothing_twice(work: int, rows: Rows, budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "LLOYD_WORK", work)
        selection = select(rows, budget)
    assert len(set(selection.indices.tolist())) == len(selection) == min(budget, len(rows))
    assert selection.scores.sum() == len(rows)


def test_with_duplicates_each_distinct_row_comes_before_any_comes_twice() -> None:
    rows = np.repeat(np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32), 8, axis=0)
    selection = select(rows, 30)
    assert {row // 8 for row in selection.indices[:10].tolist()} == set(range(10))
    assert selection.scores.tolist() == [8.0] * 10 + [0.0] * 20


def named_in_rounds(points: Rows, centres: Rows) -> list[int]:
    """The rule, with all distances at hand."""
    squares = ((centres.astype(np.float64)[:, None] - points.astype(np.float64)[None]) ** 2).sum(axis=2)
    found, unused = [-1] * len(centres), set(range(len(points)))
    while -1 in found:
        named: dict[int, int] = {}
        for centre in (number for number, place in enumerate(found) if place < 0):
            named.setdefault(min(unused, key=lambda place: (squares[centre, place], place)), centre)
        for place, centre in named.items():
            found[centre] = place
        unused -= named.keys()
    return found


@pytest.mark.shows("KMeansSampling", "the nearest unused sample to each centre, as all distances at hand give it")
@pytest.mark.parametrize("at_once", [3, 2**15])
def test_each_centre_gets_its_nearest_unused_sample(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(representatives, "_POINTS_AT_ONCE", at_once)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        points = rng.integers(-3, 4, size=(rng.integers(8, 30), 2)).astype(np.float32)
        centres = rng.integers(-3, 4, size=(rng.integers(1, 9), 2)).astype(np.float32)
        assert representatives._nearest_unused(points, centres).tolist() == named_in_rounds(points, centres)


def test_what_is_left_of_the_budget_goes_to_those_that_add_most_to_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two centres for a budget of four, the second of them with no point near."""
    monkeypatch.setattr(representatives, "k_means", lambda *_: np.array([[0.0], [50.0]], dtype=np.float32))
    found = representatives.representatives(on_a_line(1, -2, 4, -3, 0.5), 4, np.random.default_rng(0))
    assert found.places.tolist() == [4, 2, 3, 1]
    assert found.stands_for.tolist() == [5.0, 0.0, 0.0, 0.0]
    assert found.distances.tolist() == [0.5, 4.0, 3.0, 2.0]


@pytest.mark.parametrize("work", [0, 10**18])
def test_near_duplicates_in_float32_and_a_permuted_pool_give_the_same_ids(
    monkeypatch: pytest.MonkeyPatch, work: int
) -> None:
    monkeypatch.setattr(clustering, "LLOYD_WORK", work)
    rows, ids = embeddings(np.random.default_rng(2), 300), sample_ids(300)
    plain = select(rows, 120)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(300)
        pool = Pool([ids[row] for row in order], {"embeddings": rows[order]})
        moved = get_strategy("KMeansSampling").select(pool, 120)
        assert order[moved.indices].tolist() == plain.indices.tolist()
        assert moved.scores.tolist() == plain.scores.tolist()
        assert moved.parts["distance_to_centre"].tolist() == plain.parts["distance_to_centre"].tolist()
