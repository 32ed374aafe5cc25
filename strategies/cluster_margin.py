"""Cluster-Margin: the least certain samples, taken in turn from clusters of the pool, small clusters first.

Citovsky, DeSalvo, Gentile, Karydas, Rajagopalan, Rostamizadeh and Kumar 2021, "Batch Active Learning at Scale".
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from strategies.base import Pool, Selection, Strategy
from strategies.blocks import score_rows
from strategies.clustering import centred, k_means, nearest_centres
from strategies.ranking import Indices, top_indices
from strategies.uncertainty import margin_confidence

CLUSTER_SIZE = 10  # samples on average, as in the paper
MOST_CLUSTERS = 1000  # by default


class ClusterMargin(Strategy):
    """A sample's score is 1 - (p1 - p2); the order of choice is the rank.

    The paper clusters by agglomeration, which takes N x N distances; k-means over the pool stands in for it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "embeddings"})
    summary: ClassVar[str] = "Cluster-Margin: the lowest margins, in turn from clusters of the pool, small ones first"
    scores_fall: ClassVar[bool] = False

    candidates: float = Field(
        default=10.0, ge=1, le=10_000, description="how many of the lowest margins for each sample of the budget"
    )
    clusters: int | None = Field(
        default=None, ge=1, le=100_000, description="of the pool; by default one for 10 samples, 1,000 at most"
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        scores = score_rows(margin_confidence, pool.features["probabilities"])
        clusters = self._clusters(pool, rng)
        count = min(len(pool), math.ceil(self.candidates * budget))
        candidates = pool.ties.ordered(top_indices(scores, count, pool.ties))
        drawn = candidates[rng.permutation(count)]
        chosen = drawn[in_turn(clusters[drawn])[:budget]]
        sizes = np.bincount(clusters[candidates])
        return Selection(chosen, scores[chosen], {"candidates_in_cluster": sizes[clusters[chosen]].astype(np.float64)})

    def _clusters(self, pool: Pool, rng: np.random.Generator) -> Indices:
        """(N,) the number of each sample's cluster, whatever the order of the pool."""
        order = pool.canonical_order()
        points = centred(pool.features["embeddings"], order)
        by_default = min(math.ceil(len(pool) / CLUSTER_SIZE), MOST_CLUSTERS)
        clusters = np.empty(len(pool), dtype=np.int64)
        clusters[order] = nearest_centres(points, k_means(points, min(self.clusters or by_default, len(pool)), rng))
        return clusters


def in_turn(clusters: Indices) -> Indices:
    """(M,) the places 0 to M - 1 in the order of choice, where `clusters` (M,) says which cluster each belongs to.

    Round after round, each cluster from the smallest to the largest gives its next; one that has no more is passed
    over. Clusters of one size go by their numbers.
    """
    together = np.argsort(clusters, kind="stable")
    _, starts, sizes = np.unique(clusters[together], return_index=True, return_counts=True)
    rounds = np.arange(len(clusters)) - np.repeat(starts, sizes)
    return together[np.lexsort((clusters[together], np.repeat(sizes, sizes), rounds))]
