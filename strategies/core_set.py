"""CoreSet: centres that leave the least distance to the rest of the pool, but for a few outliers, found by a solver.

Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", section 4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from strategies.base import Pool, Selection, Strategy
from strategies.caps import refuse_above_cap
from strategies.distances import Rows
from strategies.k_center import k_center_among, k_center_greedy
from strategies.ranking import Indices
from strategies.robust_cover import Reach, Solver, least_radius


class CoreSet(Strategy):
    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings"})
    summary: ClassVar[str] = "robust k-center: the least radius that a solver finds, outliers left out (small pools)"

    outlier_share: float = Field(
        default=1e-4, ge=0, lt=1, description="of the pool, rounded down, that may lie outside the radius"
    )
    max_pool: int = Field(default=2_000, ge=1, le=50_000, description="refuse pools of more samples: quadratic memory")
    node_limit: int = Field(default=50, ge=1, le=1_000_000, description="of branch and bound, for each radius tried")
    solver_entries: int = Field(
        default=100_000,
        ge=0,
        le=10**12,
        description="non-zeros of all models solved; then the best radius so far stands",
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        refuse_above_cap("CoreSet", len(pool), self.max_pool, "max_pool")
        rows = pool.features["embeddings"]
        labelled = pool.features.get("labelled_embeddings", rows[:0])
        outliers = int(self.outlier_share * len(pool))
        greedy = k_center_greedy(rows, labelled, min(budget + outliers + 1, len(pool)), pool.ties)
        centres = greedy.indices[:budget]
        if budget < len(pool) and greedy.scores[budget] > 0:  # what is left by `centres`
            # Of budget + outliers + 1 samples farther apart than this, two would share a centre: Gonzalez' bound.
            is_bounded = len(greedy) > budget + outliers
            least = float(greedy.scores[-1]) / 2 if is_bounded else 0.0
            centres = self._refined(pool, labelled, centres, least, outliers)
        return k_center_among(pool, _filled(pool, labelled, centres, budget), labelled, budget)

    def _refined(self, pool: Pool, labelled: Rows, centres: Indices, least: float, outliers: int) -> Indices:
        """Centres of a radius as small as the solver finds. Rows in canonical order: a solver goes by their order."""
        order = pool.canonical_order()
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        reach = Reach(pool.features["embeddings"][order], labelled, places[centres], outliers)
        solver = Solver(len(centres), self.node_limit, self.solver_entries)
        return order[least_radius(reach, solver, places[centres], least)]


def _filled(pool: Pool, labelled: Rows, centres: Indices, budget: int) -> Indices:
    """`centres` and, where the solver needed fewer than `budget`, the samples farthest from them."""
    if len(centres) == budget:
        return centres
    rest = np.setdiff1d(np.arange(len(pool)), centres)
    known = np.concatenate([labelled, pool.features["embeddings"][centres]])
    return np.concatenate([centres, k_center_among(pool, rest, known, budget - len(centres)).indices])
