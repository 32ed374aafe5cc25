"""How unsure the model is of each sample: pure score functions on probabilities, and the strategies named after them.

Every function takes (N, C) float64, rows sum to 1 (C = 1 is read as [1 - p, p]), and returns (N,) float64.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.blocks import score_rows
from strategies.ranking import Indices

Probabilities = NDArray[np.float64]


def least_confidence(probabilities: Probabilities) -> Scores:
    """1 - max p. Lewis and Gale 1994, "A sequential algorithm for training text classifiers"."""
    scores: Scores = 1.0 - _classes(probabilities).max(axis=1)
    return scores


def margin_confidence(probabilities: Probabilities) -> Scores:
    """1 - (p1 - p2) of the two largest. Scheffer et al. 2001, "Active hidden Markov models"."""
    largest, second = _two_largest(probabilities)
    return 1.0 - (largest - second)


def ratio_confidence(probabilities: Probabilities) -> Scores:
    """p2 / p1 of the two largest, in [0, 1]; p1 >= 1/C, so nothing is divided by 0. Monarch 2021, section 3.2.3."""
    largest, second = _two_largest(probabilities)
    return second / largest


def entropy(probabilities: Probabilities) -> Scores:
    """-sum p ln p in nats, 0 ln 0 = 0. Shannon 1948; as a query Settles and Craven 2008."""
    scores: Scores = entr(_classes(probabilities)).sum(axis=1)
    return scores


def _classes(probabilities: Probabilities) -> Probabilities:
    if probabilities.shape[1] > 1:
        return probabilities
    return np.concatenate([1.0 - probabilities, probabilities], axis=1)


def _two_largest(probabilities: Probabilities) -> tuple[Scores, Scores]:
    partitioned = np.partition(_classes(probabilities), -2, axis=1)
    return partitioned[:, -1], partitioned[:, -2]


Measure = Literal["least_confidence", "margin_confidence", "ratio_confidence", "entropy"]
MEASURES: dict[Measure, Callable[[Probabilities], Scores]] = {
    "least_confidence": least_confidence,
    "margin_confidence": margin_confidence,
    "ratio_confidence": ratio_confidence,
    "entropy": entropy,
}
"""By name, for strategies that take a measure as a parameter."""


class _Uncertainty(ScoringStrategy):
    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})

    def scores(self, pool: Pool) -> Scores:
        return score_rows(self.measure, pool.features["probabilities"])

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        """The two largest probabilities, and the number of the class of the first."""
        rows = _classes(pool.features["probabilities"][chosen].astype(np.float64))
        largest, second = _two_largest(rows)
        return {"p1": largest, "p2": second, "predicted_class": rows.argmax(axis=1).astype(np.float64)}

    @staticmethod
    @abstractmethod
    def measure(probabilities: Probabilities) -> Scores:
        """One of the functions above."""


class LeastConfidence(_Uncertainty):
    summary: ClassVar[str] = "the most probable class is least probable: 1 - max p"
    measure = staticmethod(least_confidence)


class MarginConfidence(_Uncertainty):
    summary: ClassVar[str] = "the two most probable classes are closest: 1 - (p1 - p2)"
    measure = staticmethod(margin_confidence)


class RatioConfidence(_Uncertainty):
    summary: ClassVar[str] = "the two most probable classes are closest by ratio: p2 / p1"
    measure = staticmethod(ratio_confidence)


class EntropySampling(_Uncertainty):
    summary: ClassVar[str] = "the class distribution has most entropy: -sum p ln p"
    measure = staticmethod(entropy)
