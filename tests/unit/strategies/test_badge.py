"""BADGE against explicit gradients, hand-worked cases, duplicates and samples that the model is sure of."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, get_strategy
from strategies.badge import gradients
from strategies.ranking import hash_keys
from tests.support.pools import probabilities, sample_ids

Rows = NDArray[Any]


def select(p: Rows, h: Rows, budget: int, seed: int = 0) -> Selection:
    features = {"probabilities": p.astype(np.float32), "embeddings": h.astype(np.float32)}
    return get_strategy("Badge").select(Pool(sample_ids(len(p)), features, seed), budget)


def explicit(p: Rows, h: Rows) -> Rows:
    """(N, C d) gradients in float64."""
    errors = p.astype(np.float64) - np.eye(p.shape[1])[p.argmax(axis=1)]
    return np.asarray(np.einsum("nc,nd->ncd", errors, h.astype(np.float64)).reshape(len(p), -1))


@pytest.mark.shows("Badge", "the factored distance equals that of the explicit gradients, on 200 random problems")
def test_the_factored_distance_equals_the_explicit_one() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p, h = probabilities(rng, 12), rng.normal(size=(12, 5)).astype(np.float32)
        rows, whole = gradients(p, h), explicit(p, h)
        (left, right), (ones, others) = rows.factors(slice(None)), np.triu_indices(12)
        squares = rows.squares[ones] + rows.squares[others]
        squares -= 2 * (left[ones] * left[others]).sum(axis=1) * (right[ones] * right[others]).sum(axis=1)
        assert squares == pytest.approx(((whole[ones] - whole[others]) ** 2).sum(axis=1), abs=1e-10)


@pytest.mark.shows("Badge", "each score is the explicit distance to the nearest chosen before")
def test_scores_are_the_explicit_distances_to_the_nearest_chosen() -> None:
    rng = np.random.default_rng(0)
    p, h = rng.dirichlet(np.ones(4), size=80).astype(np.float32), rng.normal(size=(80, 6)).astype(np.float32)
    selection, whole = select(p, h, 80), explicit(p, h)
    chosen = whole[selection.indices]
    assert selection.scores[0] == pytest.approx(np.linalg.norm(chosen[0]))
    for rank in range(1, 80):
        nearest = np.linalg.norm(chosen[:rank] - chosen[rank], axis=1).min()
        assert selection.scores[rank] == pytest.approx(nearest, abs=1e-9)


@pytest.mark.shows("Badge", "gradients worked out by hand")
def test_a_gradient_is_the_error_times_the_embedding() -> None:
    # Errors (-0.25, 0.25) and 0; embeddings of length 5 and 13: |g| = 0.25 sqrt(2) * 5, and 0.
    selection = select(np.array([[0.75, 0.25], [0.0, 1.0]]), np.array([[3.0, 4.0], [5.0, 12.0]]), 2)
    norms = dict(zip(selection.indices.tolist(), selection.parts["gradient_norm"].tolist(), strict=True))
    assert norms == {0: pytest.approx(1.25 * np.sqrt(2)), 1: 0.0}
    assert selection.scores[1] == pytest.approx(1.25 * np.sqrt(2))


@pytest.mark.shows("Badge", "one column is read as its two sides")
def test_one_column_has_two_errors() -> None:
    one = np.array([[0.75], [0.5], [0.125]])
    h = np.arange(6.0).reshape(3, 2)
    both = select(np.concatenate([1 - one, one], axis=1), h, 3)
    assert select(one, h, 3).indices.tolist() == both.indices.tolist()


@pytest.mark.shows("Badge", "the first draw is even, the second by squared distance: 1,000 seeds")
def test_the_first_draw_is_even_and_the_second_goes_by_squared_distance() -> None:
    p, h = np.full((3, 2), 0.5), np.array([[0.0], [1.0], [3.0]])
    trials, pool = 1000, Pool(sample_ids(3), {"probabilities": p, "embeddings": h})
    pairs = [
        tuple(get_strategy("Badge").select(pool, 2, np.random.default_rng(seed)).indices.tolist())
        for seed in range(trials)
    ]
    expected = {(0, 1): 1 / 30, (0, 2): 9 / 30, (1, 0): 1 / 15, (1, 2): 4 / 15, (2, 0): 9 / 39, (2, 1): 4 / 39}
    for pair, chance in expected.items():
        assert abs(pairs.count(pair) - trials * chance) < 5 * np.sqrt(trials * chance * (1 - chance))


@pytest.mark.shows("Badge", "duplicates come last, by hash and with score 0, never twice")
def test_duplicates_come_last_in_the_order_of_their_hash() -> None:
    rng = np.random.default_rng(1)
    p = np.repeat(rng.dirichlet(np.ones(5), size=20).astype(np.float32), 5, axis=0)
    h = np.repeat(rng.normal(size=(20, 8)).astype(np.float32), 5, axis=0)
    selection = select(p, h, 100)
    assert {row // 5 for row in selection.indices[:20].tolist()} == set(range(20))
    assert (selection.scores[:20] > 0).all() and (selection.scores[20:] == 0).all()
    keys = hash_keys([f"sample-{row}" for row in selection.indices[20:].tolist()], 0)
    assert (np.diff(keys.astype(object)) > 0).all() and len(set(selection.indices.tolist())) == 100


def test_of_all_samples_that_the_model_is_sure_of_one_at_most_comes_early() -> None:
    rng = np.random.default_rng(2)
    p = np.eye(3)[rng.integers(3, size=40)]
    p[:10] = rng.dirichlet(np.ones(3), size=10)
    selection = select(p, rng.normal(size=(40, 4)), 40)
    assert {*range(10)} < set(selection.indices[:11].tolist())
    assert (selection.scores[11:] == 0).all()


@pytest.mark.shows("Badge", "1,000 classes: no gradient is formed")
def test_memory_is_that_of_the_factors() -> None:
    rng = np.random.default_rng(3)
    p, h = rng.dirichlet(np.ones(1000), size=1000).astype(np.float32), rng.normal(size=(1000, 256)).astype(np.float32)
    pool = Pool(sample_ids(1000), {"probabilities": p, "embeddings": h})
    tracemalloc.start()
    try:
        get_strategy("Badge").select(pool, 300)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 32 * 2**20  # against 2 GB as float64
