"""K-Center Greedy: always take the sample farthest from all that are labelled or taken, to cover the pool.

Gonzalez 1985, "Clustering to minimize the maximum intercluster distance" (at most twice the best radius); for active
learning Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach".
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from strategies.base import Pool, Selection, Strategy
from strategies.distances import Rows, exact_mean, largest_magnitude, squared_distances
from strategies.products import products_of
from strategies.ranking import Indices, TieBreaker

_TAKEN = -np.inf  # a squared distance that nothing is below and that is never the largest
_SAFE_RANGE = (2.0**-50, 2.0**50)  # of the largest magnitude, where float32 products neither overflow nor vanish


class KCenterSampling(Strategy):
    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings"})
    summary: ClassVar[str] = (
        "K-Center Greedy: the sample farthest from all that are labelled or chosen, again and again"
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        rows = pool.features["embeddings"]
        chosen = k_center_greedy(rows, pool.features.get("labelled_embeddings", rows[:0]), budget, pool.ties)
        return Selection(chosen.indices, chosen.scores, {"distance": chosen.scores})


def k_center_greedy(rows: Rows, labelled: Rows, budget: int, ties: TieBreaker) -> Selection:
    """`budget` (1 to N) of `rows` (N, d), given `labelled` (L, d), L >= 0.

    Scores are Euclidean distances to the nearest labelled or chosen row at the time of choice; they never rise. With
    nothing labelled the row nearest the mean is first, and its score is the distance to the row farthest from it. Rows
    that equal a labelled or chosen one come last, with score 0. Time O((L + budget) N d), memory O(N) beside the input.
    """
    cover = _Cover(rows, labelled)
    chosen: list[int] = []
    scores: list[float] = []
    if not len(labelled):
        chosen.append(cover.take(_most_central(rows, ties)))
        scores.append(cover.radius)
    while len(chosen) < budget and cover.radius > 0:
        scores.append(cover.radius)
        chosen.append(cover.take(ties.first(cover.farthest())))
    if len(chosen) < budget:
        chosen += ties.ordered(cover.not_taken())[: budget - len(chosen)].tolist()
        scores += [0.0] * (budget - len(scores))
    return Selection(np.array(chosen, dtype=np.int64), np.array(scores))


def k_center_among(pool: Pool, among: Indices, known: Rows, budget: int) -> Selection:
    """K-Center Greedy over the samples `among` (M,) of the pool, given `known` (L, d), by their place in the pool.

    As `k_center_greedy`; it copies the embeddings of `among`.
    """
    ties = TieBreaker([pool.ids[index] for index in among.tolist()], pool.seed)
    selection = k_center_greedy(pool.features["embeddings"][among], known, budget, ties)
    return Selection(among[selection.indices], selection.scores)


def _most_central(rows: Rows, ties: TieBreaker) -> int:
    squares = squared_distances(rows, exact_mean(rows))
    return ties.first(np.flatnonzero(squares == squares.min()))


class _Cover:
    """The squared distance of every row to the nearest centre so far.

    The t-th centre is the nearest so far to about one row in t. One product of the rows with it, in the precision of
    the input (float16: float32) and on a GPU where there is one, screens the rows: it runs at the speed of memory, and
    its rounding error has a bound. Only rows that it may have come nearer to, within that bound, are computed, in
    float64, by `squared_distances`. So the result is that of computing all, to the last bit, whatever the product, its
    threads and the order of rows did.
    """

    def __init__(self, rows: Rows, labelled: Rows) -> None:
        self._rows = _for_products(rows, max(largest_magnitude(rows), largest_magnitude(labelled)))
        self._times = products_of(self._rows)
        self._nearest = np.full(len(rows), np.inf)
        self._squares = squared_distances(self._rows, np.zeros(rows.shape[1]))
        # A product of d terms, added in any order, is off by at most about d eps/2 |x||c|, and |x||c| is at most
        # (|x|^2 + |c|^2) / 2. Twice that, and 128 more, bound the float64 steps too; `tiny` bounds what underflows.
        precision = np.finfo(self._rows.dtype)
        terms = rows.shape[1] + 128
        self._error = terms * float(precision.eps)
        self._tiny = terms * float(precision.tiny)
        self.radius = math.inf
        for point in labelled.astype(self._rows.dtype, copy=False):
            self._add(point)
        self._update_radius()

    def take(self, index: int) -> int:
        """Make row `index` a centre that is not chosen again; returns it."""
        self._nearest[index] = _TAKEN
        self._add(self._rows[index])
        self._update_radius()
        return index

    def farthest(self) -> Indices:
        """All rows at the largest distance."""
        return np.flatnonzero(self._nearest == self._nearest.max())

    def not_taken(self) -> Indices:
        return np.flatnonzero(self._nearest > _TAKEN)

    def _add(self, point: Rows) -> None:
        square = float(np.square(point, dtype=np.float64).sum())
        least = (self._squares + square) * (1.0 - self._error) - self._tiny
        least -= 2.0 * self._times(point)
        closer = np.flatnonzero(least < self._nearest)
        exact = squared_distances(self._rows, point, closer)
        self._nearest[closer] = np.minimum(self._nearest[closer], exact)

    def _update_radius(self) -> None:
        self.radius = math.sqrt(max(0.0, float(self._nearest.max())))


def _for_products(rows: Rows, largest: float) -> Rows:
    """`rows` as BLAS takes them without a copy at each product; copied only where they are not so yet."""
    is_risky = 0 < largest <= _SAFE_RANGE[0] or largest >= _SAFE_RANGE[1]
    kind = np.float64 if is_risky else np.result_type(rows.dtype, np.float32)
    is_contiguous = rows.flags.c_contiguous or rows.flags.f_contiguous
    return rows.astype(kind, order="K" if is_contiguous else "C", copy=not is_contiguous)
