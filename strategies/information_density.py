"""Information density: uncertain samples that are like many others, rather than uncertain outliers.

Settles and Craven 2008, "An analysis of active learning strategies for sequence labeling tasks", section 3.4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from strategies.base import Pool, Scores, Selection, Strategy
from strategies.blocks import row_blocks, score_rows
from strategies.distances import Rows
from strategies.products import all_products
from strategies.ranking import Indices, top_indices
from strategies.uncertainty import MEASURES, Measure

Directions = NDArray[np.float64]

_GRID = 2.0**26


class InformationDensity(Strategy):
    """uncertainty * density ** beta. A density is a mean of similarities (1 + cosine) / 2, in [0, 1]."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "embeddings"})
    summary: ClassVar[str] = "uncertain and like much of the pool: uncertainty * (mean similarity) ** beta"

    uncertainty: Measure = Field(default="entropy", description="the measure of uncertainty")
    beta: float = Field(default=1.0, ge=0, le=1000, description="the weight of density; 0 leaves uncertainty alone")
    neighbours: int | None = Field(
        default=None, ge=1, description="take the density of this many nearest neighbours; by default of the whole pool"
    )
    reference: int = Field(
        default=2000, ge=2, le=100_000, description="how many samples, drawn, neighbours are looked for among"
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        # A row may sum to a little more than 1, and 1 - p be a little less than 0: density must not turn its order.
        uncertainty = np.maximum(score_rows(MEASURES[self.uncertainty], pool.features["probabilities"]), 0.0)
        density = self._density(pool, rng)
        scores = uncertainty * density**self.beta
        chosen = top_indices(scores, budget, pool.ties)
        return Selection(chosen, scores[chosen], {"uncertainty": uncertainty[chosen], "density": density[chosen]})

    def _density(self, pool: Pool, rng: np.random.Generator) -> Scores:
        rows = pool.features["embeddings"]
        if self.neighbours is None:
            return pool_density(rows)
        among = pool.canonical_order()
        if self.reference < len(among):
            among = among[rng.choice(len(among), self.reference, replace=False)]
        return neighbour_density(rows, among, self.neighbours)


def directions(rows: NDArray[np.float64]) -> Directions:
    """`rows` (B, d) at length 1, rounded to multiples of 2**-26; a row of zeros stays one.

    Products of such values are multiples of 2**-52, and a part of a dot product is at most 1 and a little: 53 bits hold
    each without rounding. So BLAS gives the same cosines whatever its order of adding, its threads and its processor.
    """
    scaled = rows / _or_one(np.abs(rows).max(axis=1, keepdims=True))
    lengths = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    rounded: Directions = np.rint(scaled / _or_one(lengths) * _GRID) / _GRID
    return rounded


def pool_density(rows: Rows) -> Scores:
    """(N,) mean similarity of each of `rows` (N, d) to all of them, itself included. Exact, in O(N d) time.

    A mean of cosines is the product with the mean direction, so that N x N of them need never be made.
    """
    total = np.zeros(rows.shape[1])
    for block in row_blocks(rows):
        total += directions(rows[block].astype(np.float64, order="C")).sum(axis=0)  # multiples of 2**-26 do not round
    return _similarity(score_rows(lambda block: (directions(block) * total).sum(axis=1) / len(rows), rows))


def neighbour_density(rows: Rows, among: Indices, neighbours: int) -> Scores:
    """(N,) mean similarity of each of `rows` (N, d) to its nearest ones `among` (R,) of them, but for itself.

    All of them where `neighbours` are more. Time O(N R d), memory O(R d) and a bounded block.
    """
    if len(among) < 2:
        return np.ones(len(rows))
    reference = directions(rows[among].astype(np.float64, order="C"))
    count = min(neighbours, len(among) - 1)

    def to_nearest(block: NDArray[np.float64]) -> Scores:
        return _mean_of_largest(directions(block), reference, count)

    density = score_rows(to_nearest, rows)
    density[among] = _mean_of_largest(reference, reference, count, is_own=True)
    return _similarity(density)


def _mean_of_largest(rows: Directions, reference: Directions, count: int, is_own: bool = False) -> Scores:
    """(B,) mean of the `count` largest cosines; `is_own`: rows are those of the reference, and not their neighbours."""
    means = np.empty(len(rows))
    for block in row_blocks(reference.T, len(rows)):
        cosines = all_products(rows[block], reference)
        if is_own:
            cosines[np.arange(len(cosines)), np.arange(block.start, block.stop)] = -np.inf
        cosines.partition(cosines.shape[1] - count, axis=1)
        # Sorted, because a partition leaves the rest in an order of its own, and sums depend on it.
        means[block] = np.sort(cosines[:, cosines.shape[1] - count :], axis=1).mean(axis=1)
    return means


def _similarity(cosines: Scores) -> Scores:
    return np.clip((1.0 + cosines) / 2.0, 0.0, 1.0)


def _or_one(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(lengths > 0, lengths, 1.0)
