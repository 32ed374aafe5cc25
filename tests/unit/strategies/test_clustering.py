"""k-means on the pool's rows: what is centred, found and counted, with Lloyd's iterations and with mini-batches."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strategies import clustering
from strategies.clustering import centred, k_means, nearest_centres

Rows = NDArray[Any]


@pytest.fixture(params=["lloyd", "mini-batches"])
def _fit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to fit, whatever the size."""
    monkeypatch.setattr(clustering, "LLOYD_WORK", 10**18 if request.param == "lloyd" else 0)


def blobs(rng: np.random.Generator, count: int, size: int, width: int = 5) -> Rows:
    """`count` far apart, each of `size` rows, one after the other."""
    middles = np.repeat(100 * rng.permutation(count), size)[:, None]
    return (middles + rng.normal(size=(count * size, width))).astype(np.float32)


def centres_of(points: Rows, count: int, weights: Rows | None = None, seed: int = 0) -> Rows:
    return k_means(points, count, np.random.default_rng(seed), weights)


@pytest.mark.usefixtures("_fit")
def test_blobs_that_lie_apart_are_found() -> None:
    points = centred(blobs(np.random.default_rng(0), 20, 30), np.arange(600))
    labels = nearest_centres(points, centres_of(points, 20))
    assert sorted(np.bincount(labels).tolist()) == [30] * 20
    assert all(len(set(labels[start : start + 30].tolist())) == 1 for start in range(0, 600, 30))


@pytest.mark.usefixtures("_fit")
def test_no_more_centres_are_made_than_there_are_distinct_points() -> None:
    points = np.repeat(np.arange(6, dtype=np.float32)[:, None], 10, axis=0)
    assert sorted(centres_of(points, 50).ravel().tolist()) == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-6)
    assert centres_of(np.zeros((9, 2), dtype=np.float32), 4).tolist() == [[0, 0]]


@pytest.mark.usefixtures("_fit")
def test_a_point_without_weight_draws_no_centre() -> None:
    points = np.array([[0], [1], [50], [51], [1000]], dtype=np.float32)
    weights = np.array([1.0, 3.0, 1.0, 1.0, 0.0])
    for seed in range(5):
        assert sorted(centres_of(points, 2, weights, seed).ravel().tolist()) == pytest.approx([0.75, 50.5])
    assert len(centres_of(points, 3, np.zeros(5))) == 3


def test_the_number_of_threads_changes_nothing() -> None:
    points = np.random.default_rng(1).normal(size=(5000, 30)).astype(np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(centres_of(points.copy(), 40))
    assert np.array_equal(found[0], found[1])


def test_one_thread_is_used_from_the_first_call_on() -> None:
    """A limit on threads does not reach a library that is loaded after it was set."""
    program = """
import numpy, sys, threadpoolctl
from strategies import clustering
assert "sklearn" not in sys.modules
seen = []
def fit(points, seeds, rng, weights):
    import sklearn.cluster
    seen.extend(info["num_threads"] for info in threadpoolctl.threadpool_info())
    return seeds
clustering._lloyd = fit
clustering.k_means(numpy.arange(9.0)[:, None], 2, numpy.random.default_rng(0))
print(len(seen) > 1 and set(seen))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rows_are_copied_in_order_and_centred(kind: type) -> None:
    rows: Rows = np.array([[1, 2], [3, 6], [5, 10]], dtype=kind)
    points = centred(rows, np.array([2, 0, 1]))
    assert points.tolist() == [[2, 4], [-2, -4], [0, 0]]
    assert points.dtype == (np.float64 if kind is np.float64 else np.float32) and points.flags.c_contiguous


def test_near_duplicates_far_from_0_stay_apart() -> None:
    rows: Rows = np.full((4, 1), 1e6, dtype=np.float32) + np.array([[0], [0], [0.0625], [0.0625]], dtype=np.float32)
    points = centred(rows, np.arange(4))
    assert sorted(centres_of(points, 2).ravel().tolist()) == [-0.03125, 0.03125]


@pytest.mark.parametrize("scale", [2.0**-130, 2.0**-60, 2.0**60, 2.0**120])
def test_magnitudes_that_float32_cannot_square_are_taken_in_float64(scale: float) -> None:
    rows = blobs(np.random.default_rng(2), 3, 10, width=2) * np.float32(scale)
    points = centred(rows, np.arange(30))
    assert sorted(np.bincount(nearest_centres(points, centres_of(points, 3))).tolist()) == [10, 10, 10]


def test_the_order_of_labelled_rows_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    rows, labelled = rng.normal(size=(20, 4)), rng.normal(size=(7, 4))
    plain = centred(rows, np.arange(20), labelled)
    assert np.array_equal(plain, centred(rows, np.arange(20), labelled[::-1]))


def test_mini_batches_see_all_rows_before_any_comes_again() -> None:
    batches = list(clustering._batches(10, 25, 4, np.random.default_rng(0)))
    rows: Rows = np.concatenate(batches)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2, 4, 1]
    assert sorted(rows[:10].tolist()) == sorted(rows[10:20].tolist()) == list(range(10))


def test_seeds_of_a_large_pool_are_looked_for_among_some_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "SEED_ROWS", 40)
    points = blobs(np.random.default_rng(4), 8, 50)
    assert len(centres_of(points, 8)) == 8
    assert len(centres_of(points, 100)) == 100


def plain_loss(points: Rows, weights: Rows, centres: Rows) -> float:
    squares = ((points[:, None].astype(np.float64) - centres[None]) ** 2).sum(axis=2)
    return float((weights * squares.min(axis=1)).sum())


def plain_k_means(points: Rows, count: int, weights: Rows, rng: np.random.Generator) -> Rows:
    """Lloyd's iterations as the textbook has them, from points drawn evenly, all distances at hand."""
    centres = points[rng.choice(len(points), count, replace=False)].astype(np.float64)
    for _ in range(50):
        labels = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        for number in np.flatnonzero(np.bincount(labels, weights, minlength=count)):
            own = labels == number
            centres[number] = np.average(points[own], axis=0, weights=weights[own])
    return centres


@pytest.mark.shows("KMeansSampling", "its clusters' loss is below that of a plain k-means, on random problems")
@pytest.mark.shows("DiverseMiniBatch", "its clusters' weighted loss is below that of a plain k-means")
@pytest.mark.shows("TypiClust", "its clusters' loss is below that of a plain k-means")
@pytest.mark.shows("ClusterMargin", "its clusters' loss is below that of a plain k-means")
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_clusters_are_tighter_than_those_of_plain_runs_and_near_the_best_of_ten(is_weighted: bool) -> None:
    rng = np.random.default_rng(2)
    to_mean, to_best = [], []
    for problem in range(15):
        middles = rng.normal(scale=3, size=(rng.integers(3, 9), 4))
        points = (middles[rng.integers(len(middles), size=150)] + rng.normal(size=(150, 4))).astype(np.float32)
        points = centred(points, np.arange(150))
        weights = rng.random(150) if is_weighted else np.ones(150)
        count = int(rng.integers(2, 12))
        losses = [plain_loss(points, weights, plain_k_means(points, count, weights, rng)) for _ in range(10)]
        ours = plain_loss(points, weights, centres_of(points, count, weights, problem))
        to_mean.append(ours / np.mean(losses))
        to_best.append(ours / min(losses))
    assert np.mean(to_mean) < 1 and np.mean(to_best) < 1.1
