"""ProbCover: balls of one radius around the chosen samples, placed so that they hold as much of the pool as possible.

Yehuda, Dekel, Hacohen and Weinshall 2022, "Active Learning Through a Covering Lens", NeurIPS, algorithm 1.
Equal samples have one ball: it is found once, and each distinct row counts as many samples as it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from strategies.balls import Balls
from strategies.base import Pool, Selection, Strategy
from strategies.blocks import row_blocks
from strategies.distances import Rows
from strategies.k_center import k_center_among
from strategies.neighbours import firsts_of_equals
from strategies.purity import pure_square
from strategies.ranking import Indices, TieBreaker

_STORED_PER_ROW = 64  # neighbours kept in all, for each distinct row; others are found again when they are needed
_WIDE = 128  # values of a row, below which threads of BLAS wait for each other longer than they work
_POINTS = 512  # whose neighbours are found at once
_CLUSTERS = 10  # where the number of classes is not given


class ProbCover(Strategy):
    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings"})
    summary: ClassVar[str] = "ProbCover: each next ball of a fixed radius covers the most samples yet uncovered"

    delta: float | None = Field(
        default=None, ge=0, le=1e38, description="radius of a ball (Euclidean); default: estimated from purity"
    )
    purity: float = Field(default=0.95, gt=0, le=1, description="share of balls within one cluster, to estimate delta")
    n_classes: int | None = Field(
        default=None, ge=2, le=100_000, description="clusters that stand for classes, to estimate delta; default: 10"
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        rows = pool.features["embeddings"]
        labelled = pool.features.get("labelled_embeddings", rows[:0])
        labelled = labelled[firsts_of_equals(labelled)]
        distinct = _distinct(rows)
        balls = Balls(distinct.rows, labelled)
        with threadpool_limits(limits=1 if rows.shape[1] < _WIDE else None):
            cover = _Cover(balls, distinct, labelled, self._square(pool, balls, distinct, rng))
            chosen, scores = _greedy_cover(cover, distinct, budget, pool.ties)
        if len(chosen) == budget:
            return Selection(np.array(chosen), np.array(scores))
        rest = np.setdiff1d(np.arange(len(pool)), chosen)
        more = k_center_among(pool, rest, np.concatenate([labelled, rows[chosen]]), budget - len(chosen))
        indices = np.concatenate([np.array(chosen, dtype=np.int64), more.indices])
        return Selection(indices, np.concatenate([scores, np.zeros(len(more))]))

    def _square(self, pool: Pool, balls: Balls, distinct: _Distinct, rng: np.random.Generator) -> float:
        if self.delta is not None:
            return self.delta * self.delta
        order = distinct.numbers[pool.canonical_order()]
        return pure_square(distinct.rows, order, self.n_classes or _CLUSTERS, self.purity, rng, balls)


@dataclass(frozen=True)
class _Distinct:
    """`rows` (D, d) of a pool that differ, for each sample the number (N,) of its row, and how many (D,) have each."""

    rows: Rows
    numbers: Indices
    counts: Indices


def _distinct(rows: Rows) -> _Distinct:
    """The rows as they are where all differ; else a copy of the first of each. Time O(N d)."""
    seen: dict[bytes, int] = {}
    numbers = np.empty(len(rows), dtype=np.int64)
    for block in row_blocks(rows):
        texts = (row.tobytes() for row in rows[block] + rows.dtype.type(0))  # -0.0, which equals 0.0, becomes 0.0
        digests = (blake2b(text, digest_size=16).digest() for text in texts)
        numbers[block] = [seen.setdefault(digest, len(seen)) for digest in digests]
    if len(seen) == len(rows):
        return _Distinct(rows, numbers, np.ones_like(numbers))
    _, firsts, counts = np.unique(numbers, return_index=True, return_counts=True)
    return _Distinct(rows[firsts], numbers, counts)


def _greedy_cover(cover: _Cover, distinct: _Distinct, budget: int, ties: TieBreaker) -> tuple[list[int], list[float]]:
    """Up to `budget` samples, each with how many samples it newly covered, until all are covered."""
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < budget and (most := int(cover.degrees.max())) > 0:
        chosen.append(ties.first(np.flatnonzero((cover.degrees == most)[distinct.numbers])))
        scores.append(most)
        cover.take(int(distinct.numbers[chosen[-1]]))
    return chosen, scores


class _Cover:
    """`degrees` (D,): how many samples that nothing covers yet lie in the ball around each row, its own with them.

    A covered row leaves the balls that it lay in, once: that takes its neighbours again, which are kept up to a limit
    and found anew beyond. So time is O(D^2 d), and memory O(D) beside `balls`.
    """

    def __init__(self, balls: Balls, distinct: _Distinct, labelled: Rows, square: float) -> None:
        self._counts = distinct.counts
        self._neighbours = _Neighbours(balls, distinct.rows, square)
        self._is_open = np.ones(len(distinct.rows), dtype=np.bool_)
        for _, covered in balls.pairs(labelled, square):
            self._is_open[covered] = False
        self.degrees = np.zeros(len(distinct.rows), dtype=np.int64)
        for rows, found in self._neighbours.of_all(np.flatnonzero(self._is_open)):
            np.add.at(self.degrees, found, self._counts[rows])

    def take(self, row: int) -> None:
        """Cover the ball around `row`."""
        ball = np.concatenate([found for _, found in self._neighbours.of(np.array([row]))])
        newly = ball[self._is_open[ball]]
        self._is_open[newly] = False
        for rows, found in self._neighbours.of(newly):
            np.subtract.at(self.degrees, found, self._counts[rows])


class _Neighbours:
    """The rows in the ball around each row: kept while there is room, found anew where not."""

    def __init__(self, balls: Balls, rows: Rows, square: float) -> None:
        self._balls, self._rows, self._square = balls, rows, square
        self._kept: dict[int, NDArray[np.int32]] = {}
        self._room = _STORED_PER_ROW * len(rows)

    def of(self, indices: Indices) -> Iterator[tuple[int | Indices, NDArray[np.integer[Any]]]]:
        """All pairs of one of `indices` (M,) and a neighbour of it, in parts: the one, or one for each, and those."""
        unknown = []
        for index in indices.tolist():
            if index in self._kept:
                yield index, self._kept[index]
            else:
                unknown.append(index)
        for start in range(0, len(unknown), _POINTS):
            batch = np.array(unknown[start : start + _POINTS])
            for ones, others in self._balls.pairs(self._rows[batch], self._square):
                yield batch[ones], others

    def of_all(self, indices: Indices) -> Iterator[tuple[Indices, Indices]]:
        """As `of`, and keeps what there is room for."""
        for start in range(0, len(indices), _POINTS):
            batch = indices[start : start + _POINTS]
            points, neighbours, count = [], [], 0
            for one, other in self._balls.pairs(self._rows[batch], self._square):
                yield batch[one], other
                count += len(one)
                if count <= self._room:
                    points.append(one.astype(np.int16))
                    neighbours.append(other.astype(np.int32))
            if count <= self._room:
                self._keep(batch, np.concatenate(points), np.concatenate(neighbours))

    def _keep(self, batch: Indices, points: NDArray[np.int16], neighbours: NDArray[np.int32]) -> None:
        self._room -= len(points)
        sorted_neighbours = neighbours[np.argsort(points, kind="stable")]
        ends = np.cumsum(np.bincount(points, minlength=len(batch)))[:-1]
        self._kept |= dict(zip(batch.tolist(), np.split(sorted_neighbours, ends), strict=True))
