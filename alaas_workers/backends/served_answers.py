"""What a Triton server's outputs are as features, and whether they are what was promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alaas.errors import ModelError
from alaas.jobs import SCORES, Feature
from alaas_workers.backends.protocol import Rows
from alaas_workers.backends.served_fit import Fit, Judge

Answer = list[npt.NDArray[Any]]
Wide = npt.NDArray[np.float64]

_TOLERANCE = 1e-3  # of a row of probabilities, whose sum is 1
_TOLERANCE_FP16 = 1e-2


class Answers:
    """Of one model. Raises ModelError for outputs that are not as promised."""

    def __init__(self, fit: Fit, judge: Judge) -> None:
        self._fit, self._judge = fit, judge

    def features(self, answer: Answer) -> dict[Feature, Rows]:
        """Of a whole batch. Raises ModelError for outputs that are not a row of numbers for each of it."""
        made = dict(zip(self._fit.features, map(_as_rows, answer), strict=True))
        for feature, values in made.items():
            if values.ndim != 2 or len(values) != self._fit.rows:
                raise self.promised_other(feature, values, "one row of numbers for each is needed")
            if self._fit.is_logits and feature is not Feature.EMBEDDINGS:
                activation = _softmax if feature is Feature.PROBABILITIES else _sigmoid
                made[feature] = activation(values.astype(np.float64)).astype(np.float32)
        return made

    def promised_other(self, feature: Feature, values: Rows, wanted: str) -> ModelError:
        size = " x ".join(map(str, values.shape))
        return self._judge.error(
            "outputs", f"the server gives {size} {feature.value} for {self._fit.rows} samples; {wanted}"
        )

    def check_scores(self, made: dict[Feature, Rows]) -> None:
        """Of a sample without content; whether each real one's are numbers is looked at on its own."""
        scores = made.get(SCORES[self._fit.scores_of])
        if scores is None or self._fit.scores is None:
            return
        of_classes = self._fit.scores_of == "classes"
        if of_classes and scores.shape[1] < 2:
            raise self._judge.error("outputs", "it gives 1 value for a sample; a classifier gives 2 or more")
        tolerance = _TOLERANCE_FP16 if self._fit.scores.datatype == "FP16" else _TOLERANCE
        wrong = (scores < 0) | (scores > 1 + tolerance)
        if self._fit.scores_of == "boxes" and wrong.any():
            raise self._judge.error("outputs", f"{self._fit.scores.name!r:.80} gives no scores of boxes, from 0 to 1")
        if wrong.any() or (of_classes and (abs(scores.sum(axis=1) - 1) > tolerance).any()):
            raise self._judge.error(
                "outputs", f"{self._fit.scores.name!r:.80} gives no probabilities; name it under outputs.logits"
            )


def _as_rows(values: npt.NDArray[Any]) -> Rows:
    """(N, d) float32; what follows the rows is laid flat."""
    return values.reshape(len(values), -1).astype(np.float32, copy=False) if values.ndim > 1 else values


def _softmax(logits: Wide) -> Wide:
    with np.errstate(invalid="ignore"):  # of Inf it makes NaN, which is reported
        weights: Wide = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Wide = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(logits: Wide) -> Wide:
    made: Wide = np.exp(-np.logaddexp(0, -logits))
    return made
