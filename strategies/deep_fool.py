"""DeepFool active learning (DFAL): first the samples that the smallest perturbation moves over a decision boundary.

Ducoffe and Precioso 2018, "Adversarial active learning for deep networks: a margin based approach", which builds on
Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural networks".
Inference computes the distances; here they are ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.ranking import Indices


class DeepFool(ScoringStrategy):
    needs: ClassVar[frozenset[str]] = frozenset({"boundary_distances"})
    summary: ClassVar[str] = "the smallest adversarial perturbation changes the predicted class"

    def scores(self, pool: Pool) -> Scores:
        """Minus the distance: where no boundary was reached it is float32's largest, so that such samples come last."""
        return 0.0 - _distances(pool)  # a minus sign alone would make -0.0 of 0

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        return {"distance": _distances(pool)[chosen]}


def _distances(pool: Pool) -> Scores:
    distances: Scores = pool.features["boundary_distances"][:, 0].astype(np.float64)
    return distances
