"""DBAL, diverse mini-batch active learning: k-means among the most uncertain, weighted by uncertainty.

Zhdanov 2019, "Diverse mini-batch Active Learning".
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from strategies.base import Pool, Selection, Strategy
from strategies.blocks import score_rows
from strategies.clustering import centred
from strategies.ranking import top_indices
from strategies.representatives import representatives
from strategies.uncertainty import MEASURES, Measure


class DiverseMiniBatch(Strategy):
    """A sample's score is the uncertainty of all candidates that are nearest to its centre."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "embeddings"})
    summary: ClassVar[str] = "DBAL: k-means weighted by uncertainty, among the beta * budget most uncertain"

    beta: float = Field(default=10.0, ge=1, le=10_000, description="how many candidates for each sample of the budget")
    uncertainty: Measure = Field(default="margin_confidence", description="the measure of uncertainty")

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        # A row may sum to a little more than 1, and 1 - p be a little less than 0: no weight may.
        uncertainty = np.maximum(score_rows(MEASURES[self.uncertainty], pool.features["probabilities"]), 0.0)
        count = min(len(pool), math.ceil(self.beta * budget))
        candidates = pool.ties.ordered(top_indices(uncertainty, count, pool.ties))
        points = centred(pool.features["embeddings"], candidates)
        found = representatives(points, budget, rng, uncertainty[candidates])
        chosen = candidates[found.places]
        parts = {"uncertainty": uncertainty[chosen], "distance_to_centre": found.distances}
        return Selection(chosen, found.stands_for, parts)
