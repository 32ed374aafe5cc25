"""A budget spread over the clusters of a pool: for each centre the nearest real sample that is not used yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strategies.clustering import Weights, k_means, nearest_centres
from strategies.distances import Rows, Squares
from strategies.neighbours import nearest, pair_squares
from strategies.ranking import Indices

_POINTS_AT_ONCE = 2**15


@dataclass(frozen=True)
class Representatives:
    """`places` (b,) of points in rank order, the weight that each `stands_for`, and its `distances` to its centre."""

    places: Indices
    stands_for: NDArray[np.float64]
    distances: NDArray[np.float64]


def representatives(
    points: Rows, budget: int, rng: np.random.Generator, weights: Weights | None = None
) -> Representatives:
    """`budget` (1 to N) distinct ones of `points` (N, d) in canonical order, see `clustering.centred`.

    k-means with `budget` clusters. A centre's weight is that of the points nearest to it, and the heaviest goes first.
    Each centre names its nearest unused point, the first of equals; a point that several name goes to the first of
    them, and the others name again. A centre that no point is nearest to gets none. What is left of the budget goes to
    the unused points that add most to the loss, weight times squared distance to the nearest centre, and stands for
    0. O(N b d) time in matrix products, O(N + b d) memory.
    """
    weights = np.ones(len(points)) if weights is None or not weights.any() else weights
    centres = k_means(points, budget, rng, weights)
    labels = nearest_centres(points, centres)
    heights = np.bincount(labels, weights, minlength=len(centres))
    ranked = np.argsort(-heights, kind="stable")
    ranked = ranked[np.bincount(labels, minlength=len(centres))[ranked] > 0]
    with threadpool_limits(limits=1):
        places = _nearest_unused(points, centres[ranked])
    rest, squares = _worst_served(points, centres, labels, weights, places)
    count = budget - len(places)
    own = pair_squares(points, centres, places, ranked)
    return Representatives(
        np.concatenate([places, rest[:count]]),
        np.concatenate([heights[ranked], np.zeros(count)]),
        np.sqrt(np.concatenate([own, squares[:count]])),
    )


def _nearest_unused(points: Rows, centres: Rows) -> Indices:
    """(k,) for each of `centres`, first come first served in rounds."""
    found = np.full(len(centres), -1, dtype=np.int64)
    unused = np.arange(len(points))
    while len(waiting := np.flatnonzero(found < 0)):
        named = _nearest_points(centres[waiting], points, unused)
        _, first = np.unique(named, return_index=True)
        found[waiting[first]] = named[first]
        unused = np.setdiff1d(unused, named)
    return found


def _nearest_points(centres: Rows, points: Rows, only: Indices) -> Indices:
    """(k,) for each of `centres` the nearest of those `points` (N, d) whose places are in `only`."""
    found, squares = np.full(len(centres), -1, dtype=np.int64), np.full(len(centres), np.inf)
    for start in range(0, len(only), _POINTS_AT_ONCE):
        some = only[start : start + _POINTS_AT_ONCE]
        numbers, distances = nearest(centres, points[some])
        is_nearer = distances < squares
        found[is_nearer], squares[is_nearer] = some[numbers[is_nearer]], distances[is_nearer]
    return found


def _worst_served(
    points: Rows, centres: Rows, labels: Indices, weights: Weights, used: Indices
) -> tuple[Indices, Squares]:
    """The places of the points that are not in `used`, those that add most to the loss first; and their distances."""
    left = np.setdiff1d(np.arange(len(points)), used)
    squares = pair_squares(points, centres, left, labels[left])
    order = np.argsort(-weights[left] * squares, kind="stable")
    return left[order], squares[order]
