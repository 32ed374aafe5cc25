"""TypiClust: the most typical sample of each cluster that holds no labels yet; for the first labels and small budgets.

Hacohen, Dekel and Weinshall 2022, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets".
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from strategies.base import Pool, Scores, Selection, Strategy
from strategies.clustering import centred, k_means, nearest_centres
from strategies.distances import Rows
from strategies.neighbours import pair_squares
from strategies.ranking import Indices

SMALL = 5  # members at most, of a cluster that is dropped while there are others
REFERENCE = 20_000  # members of a cluster, drawn, that neighbours are looked for among in a larger one
_BLOCK_VALUES = 2**20


class TypiClust(Strategy):
    """The order of choice is the rank. A score is 1 / (1 + mean distance to the neighbours), of a lone sample 0."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings"})
    summary: ClassVar[str] = "TypiClust: the densest sample of each cluster, clusters with fewest labels first"
    scores_fall: ClassVar[bool] = False

    max_clusters: int = Field(default=500, ge=1, le=100_000, description="no more clusters than this are made")
    neighbours: int = Field(default=20, ge=1, le=1000, description="of a sample, that tell how dense it lies")

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        order = pool.canonical_order()
        labelled = pool.features.get("labelled_embeddings")
        points = centred(pool.features["embeddings"], order, labelled)
        count = min(len(points) - len(order) + budget, self.max_clusters)
        clusters = nearest_centres(points, k_means(points, count, rng))
        with threadpool_limits(limits=1):
            turns = list(self._turns(points, clusters, len(order), budget, rng))
        found = np.array([turn.place for turn in turns], dtype=np.int64)
        parts = {
            "cluster_size": np.array([turn.size for turn in turns]),
            "labelled_in_cluster": np.array([turn.labelled for turn in turns]),
        }
        return Selection(order[found], np.array([turn.typicality for turn in turns]), parts)

    def _turns(
        self, points: Rows, clusters: Indices, pool_size: int, budget: int, rng: np.random.Generator
    ) -> Iterator[_Turn]:
        """`budget` choices, each from the cluster with fewest labels, then the largest; small ones after all others.

        A choice counts as a label of its cluster from then on, and a cluster that has no more to give drops out.
        """
        members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1])
        labelled = [int((some >= pool_size).sum()) for some in members]
        heap = [(len(some) <= SMALL, labelled[k], -len(some), k) for k, some in enumerate(members)]
        heap = [entry for entry in heap if entry[1] < -entry[2]]
        heapq.heapify(heap)
        ranked: dict[int, Iterator[tuple[int, float]]] = {}
        for _ in range(budget):
            is_small, labels, size, number = heap[0]
            if number not in ranked:
                ranked[number] = self._most_typical_first(points, members[number], pool_size, rng)
            place, typicality = next(ranked[number])
            yield _Turn(place, typicality, -size, labels)
            if labels + 1 < -size:
                heapq.heapreplace(heap, (is_small, labels + 1, size, number))
            else:
                heapq.heappop(heap)

    def _most_typical_first(
        self, points: Rows, members: Indices, pool_size: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, float]]:
        count = min(self.neighbours, max(1, len(members) // 2))
        typicality = 1.0 / (1.0 + neighbour_distances(centred(points, members), count, rng))
        ranked = np.argsort(-typicality, kind="stable")
        ranked = ranked[members[ranked] < pool_size]
        return zip(members[ranked].tolist(), typicality[ranked].tolist(), strict=True)


class _Turn(NamedTuple):
    """The sample at `place` is chosen, while its cluster of `size` holds so many that are `labelled` or chosen."""

    place: int
    typicality: float
    size: int
    labelled: int


def neighbour_distances(points: Rows, count: int, rng: np.random.Generator) -> Scores:
    """(S,) the mean Euclidean distance of each of `points` (S, d), around 0, to its `count` nearest others.

    Among REFERENCE of them, drawn, where they are more. Inf for a lone point. Matrix products find the neighbours, in
    the precision of the points (on one thread, see the caller); their distances are exact. O(S min(S, REFERENCE) d)
    time, and a block of memory.
    """
    if len(points) == 1:
        return np.array([np.inf])
    among = np.arange(len(points))
    if len(among) > REFERENCE:
        among = np.sort(rng.choice(among, REFERENCE, replace=False))
    reference = points[among]
    halves = (np.square(reference, dtype=np.float64).sum(axis=1) / 2).astype(reference.dtype)
    means = np.empty(len(points))
    step = max(1, _BLOCK_VALUES // len(among))
    for start in range(0, len(points), step):
        rows = np.arange(start, min(start + step, len(points)))
        found = _nearest_others(points, rows, reference, halves, among, count)
        squares = pair_squares(points, reference, np.repeat(rows, found.shape[1]), found.ravel())
        # Sorted, because they are found in an order of no meaning, and sums depend on it.
        means[rows] = np.sort(np.sqrt(squares).reshape(found.shape), axis=1).mean(axis=1)
    return means


def _nearest_others(
    points: Rows, rows: Indices, reference: Rows, halves: Rows, among: Indices, count: int
) -> NDArray[np.int64]:
    """(B, count) numbers of the nearest of `reference` to the points `rows` (B,), but for themselves."""
    closeness = points[rows] @ reference.T
    closeness -= halves
    own = np.searchsorted(among, rows)
    own[own == len(among)] = 0
    is_own = among[own] == rows
    closeness[is_own, own[is_own]] = -np.inf
    count = min(count, len(among) - 1)
    return np.argpartition(closeness, len(among) - count, axis=1)[:, len(among) - count :]
