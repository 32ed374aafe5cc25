"""Samples with several answers that do not exclude one another: the labels of a multi-label model, a detector's boxes.

Each answer is a draw of its own with probability p, and so has an uncertainty of its own; what they make of the sample
is their mean, maximum or sum. Haussmann et al. 2020, "Scalable active learning for object detection", take the entropy
of such draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import entr

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.blocks import score_rows
from strategies.ranking import Indices

Answers = NDArray[np.float64]
Measure = Literal["entropy", "least_confidence"]
Aggregate = Literal["mean", "max", "sum"]


def entropy_of_each(answers: Answers) -> Answers:
    """-p ln p - (1 - p) ln(1 - p) in nats, of the same shape; 0 for what is sure, such as a box that is not there."""
    entropies: Answers = entr(answers) + entr(1.0 - answers)
    return entropies


def least_confidence_of_each(answers: Answers) -> Answers:
    """1 - max(p, 1 - p), of the same shape. The margin between p and 1 - p, as 1 - |2p - 1|, is twice as much."""
    return np.minimum(answers, 1.0 - answers)


MEASURES: dict[Measure, Callable[[Answers], Answers]] = {
    "entropy": entropy_of_each,
    "least_confidence": least_confidence_of_each,
}


def together(uncertainties: Answers, counts: Any, aggregate: Aggregate) -> Scores:
    """(N,) of (N, L), of which `counts`, a number or (N,), tells how many the mean is over; 0 where there are none."""
    if aggregate == "max":
        return np.asarray(uncertainties.max(axis=1))
    sums: Scores = uncertainties.sum(axis=1)
    return sums if aggregate == "sum" else sums / np.maximum(counts, 1)


class MultiLabelUncertainty(ScoringStrategy):
    """Brinker 2006, "On active learning in multi-label classification": the least sure label (max). Esuli and
    Sebastiani 2009, "Active learning strategies for multi-label text classification": also the mean over labels.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"label_probabilities"})
    summary: ClassVar[str] = "a multi-label model is least sure of its labels, each by itself: their mean or maximum"

    measure: Measure = Field(default="entropy", description="how unsure the model is of one label")
    aggregate: Aggregate = Field(default="mean", description="what the labels make of the sample; sum ranks as mean")

    def scores(self, pool: Pool) -> Scores:
        def score(rows: Answers) -> Scores:
            return together(MEASURES[self.measure](rows), rows.shape[1], self.aggregate)

        return score_rows(score, pool.features["label_probabilities"])

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        """How many labels are more likely than not; the number of the least sure one, and its probability."""
        rows = pool.features["label_probabilities"][chosen].astype(np.float64)
        least_sure = least_confidence_of_each(rows).argmax(axis=1)
        return {
            "predicted_labels": (rows >= 0.5).sum(axis=1).astype(np.float64),
            "least_sure_label": least_sure.astype(np.float64),
            "p": np.take_along_axis(rows, least_sure[:, None], axis=1)[:, 0],
        }


class DetectionUncertainty(ScoringStrategy):
    """Brust, Käding and Denzler 2019, "Active learning for deep object detection": maximum, mean and sum over boxes."""

    needs: ClassVar[frozenset[str]] = frozenset({"box_scores"})
    summary: ClassVar[str] = "a detector is least sure of its boxes: their maximum, mean or sum for each image"

    measure: Measure = Field(default="entropy", description="how unsure the model is of one box, by its score")
    aggregate: Aggregate = Field(
        default="max", description="what the boxes make of the image; sum prefers images with many"
    )

    def scores(self, pool: Pool) -> Scores:
        """0, the least there is, for an image without boxes."""

        def score(rows: Answers) -> Scores:
            return together(MEASURES[self.measure](rows), (rows > 0).sum(axis=1), self.aggregate)

        return score_rows(score, pool.features["box_scores"])

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        """How many boxes; the highest score, and the one of the least sure box; 0 where there are none."""
        rows = pool.features["box_scores"][chosen].astype(np.float64)
        least_sure = least_confidence_of_each(rows).argmax(axis=1)
        return {
            "boxes": (rows > 0).sum(axis=1).astype(np.float64),
            "highest_score": rows.max(axis=1),
            "least_sure_score": np.take_along_axis(rows, least_sure[:, None], axis=1)[:, 0],
        }
