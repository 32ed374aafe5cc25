"""k-means over rows in canonical order, on one thread: the same clusters whatever the pool's order, to the last bit.

Lloyd 1982, "Least squares quantization in PCM"; for large problems Sculley 2010, "Web-scale k-means clustering"; seeds
by k-means++ (seeding.py). Processors of another kind may round otherwise, and then cluster a little differently.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strategies.blocks import row_blocks
from strategies.distances import Rows, exact_mean, largest_magnitude
from strategies.neighbours import nearest
from strategies.ranking import Indices
from strategies.seeding import OuterProducts, plus_plus

Weights = NDArray[np.float64]

LLOYD_WORK = 3 * 10**10  # N k d, the products of one iteration, above which mini-batches take over
LLOYD_ITERATIONS = 20
SEED_ROWS = 50_000  # or 5 for each cluster: how many rows, drawn, the seeds are looked for among
BATCH_ROWS = 4096  # or 1 for each cluster
TRAINING_ROWS = 200_000  # or 20 for each cluster, and not above 2 N: how many rows mini-batches see in all
_SAFE_RANGE = (2.0**-30, 2.0**50)  # of the largest magnitude, where float32 products neither overflow nor vanish


def centred(rows: Rows, order: Indices, labelled: Rows | None = None) -> Rows:
    """A copy of `rows` (N, d) in `order` (M,), then of `labelled` (L, d), less their mean; in C order.

    Far from 0, products would round away what tells rows apart. In float32, or in float64 where `rows` are, or where
    their magnitude would overflow or vanish. Labelled rows are sorted, so that their order changes nothing either.
    """
    labelled = rows[:0] if labelled is None else labelled[np.lexsort(labelled.T)]
    largest = max(largest_magnitude(rows), largest_magnitude(labelled))
    is_risky = 0 < largest <= _SAFE_RANGE[0] or largest >= _SAFE_RANGE[1]
    points: Rows = np.empty(
        (len(order) + len(labelled), rows.shape[1]),
        np.float64 if is_risky else np.result_type(rows.dtype, labelled.dtype, np.float32),
    )
    for block in row_blocks(rows, len(order)):
        points[block] = rows[order[block]]
    points[len(order) :] = labelled
    mean = exact_mean(points)
    for block in row_blocks(points):
        points[block] = points[block].astype(np.float64) - mean
    return points


def k_means(points: Rows, count: int, rng: np.random.Generator, weights: Weights | None = None) -> Rows:
    """(k, d) centres of `count` clusters of `points` (N, d) in canonical order.

    They are fewer where there are fewer distinct points with a weight. `weights` (N,) of the points, at least 0; None
    or all 0: even. `points` change in passing, and come back but for the last bit of a value. Lloyd's iterations, at
    most LLOYD_ITERATIONS, while N k d <= LLOYD_WORK, in O(N k d) time each; else mini-batches of TRAINING_ROWS in all,
    or of 20 k, in O(k d) time each. Memory: O(k d) and a block.
    """
    import sklearn.cluster  # noqa: F401  # before the limit, which only reaches libraries that are loaded

    if count >= len(points):
        return points.copy()
    even = np.ones(len(points))
    weights = even if weights is None or not weights.any() else weights
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that clusters fell together: nothing here relies on their number
        seeds = _seeds(points, count, rng, weights)
        fit = _lloyd if len(points) * points.shape[1] * len(seeds) <= LLOYD_WORK else _mini_batches
        return fit(points, seeds, rng, weights)


def nearest_centres(points: Rows, centres: Rows) -> Indices:
    """(N,) the number of the nearest of `centres` (k, d) to each of `points` (N, d), the first of equals."""
    with threadpool_limits(limits=1):
        return nearest(points, centres)[0]


def _seeds(points: Rows, count: int, rng: np.random.Generator, weights: Weights) -> Rows:
    most = max(SEED_ROWS, 5 * count)
    if len(points) > most:
        drawn = np.sort(rng.choice(len(points), most, replace=False))
        points, weights = points[drawn], weights[drawn]
    weights = weights if weights.any() else np.ones(len(points))
    draws = plus_plus(OuterProducts(points), np.arange(len(points)), rng, weights)
    return points[[row for row, _ in islice(draws, count)]]


def _lloyd(points: Rows, seeds: Rows, rng: np.random.Generator, weights: Weights) -> Rows:
    from sklearn.cluster import KMeans

    model = KMeans(len(seeds), init=seeds, n_init=1, max_iter=LLOYD_ITERATIONS, copy_x=False, random_state=0)
    centres: Rows = model.fit(points, sample_weight=weights).cluster_centers_
    return centres


def _mini_batches(points: Rows, seeds: Rows, rng: np.random.Generator, weights: Weights) -> Rows:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(
        len(seeds), init=seeds, n_init=1, compute_labels=False, reassignment_ratio=0, random_state=0
    )
    total = min(2 * len(points), max(TRAINING_ROWS, 20 * len(seeds)))
    for batch in _batches(len(points), total, max(BATCH_ROWS, len(seeds)), rng):
        model.partial_fit(points[batch], sample_weight=weights[batch])
    centres: Rows = model.cluster_centers_
    return centres


def _batches(count: int, total: int, size: int, rng: np.random.Generator) -> Iterator[Indices]:
    """`total` of `count` rows, all of them once before any comes again, `size` at a time."""
    while total > 0:
        order = rng.permutation(count)[:total]
        yield from (order[start : start + size] for start in range(0, len(order), size))
        total -= len(order)
