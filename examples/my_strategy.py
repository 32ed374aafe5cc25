"""A strategy of one's own: unsure samples first, and among them those of classes that the model rarely predicts.

docs/how-to-add-a-strategy.md walks through this file; the contract tests run over it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from strategies import Pool, ScoringStrategy
from strategies.blocks import score_rows
from strategies.members import two_sided
from strategies.uncertainty import least_confidence


class RareClassFirst(ScoringStrategy):
    """Score: (1 - max p) * (count of the rarest predicted class / count of the sample's predicted class) ** power."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    summary: ClassVar[str] = "unsure samples first, weighted towards classes that are rarely predicted"

    power: float = Field(default=1.0, ge=0, le=10, description="0: least confidence as it is")

    def scores(self, pool: Pool) -> NDArray[np.float64]:
        probabilities = two_sided(pool.features["probabilities"])
        predicted = probabilities.argmax(axis=1)
        counts = np.bincount(predicted)
        rarity = counts[counts > 0].min() / counts[predicted]
        scores: NDArray[np.float64] = score_rows(least_confidence, probabilities) * rarity**self.power
        return scores
