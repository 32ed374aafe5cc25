"""Uniform sampling without replacement: what every other strategy has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.ranking import hash_keys


class RandomSampling(ScoringStrategy):
    """Each sample's score is a number in [0, 1) drawn by hashing the pool's seed with its id.

    A hash and not `rng`: a generator's numbers would go to positions, and another input order would select other ids.
    """

    summary: ClassVar[str] = "uniform without replacement, the same ids for the same seed"

    def scores(self, pool: Pool) -> Scores:
        keys = hash_keys(pool.ids, pool.seed, b"random sampling")
        # The upper 53 bits are what a float64 below 1 holds exactly; rounding all 64 could give 1.0.
        return np.ldexp((keys >> np.uint64(11)).astype(np.float64), -53)
