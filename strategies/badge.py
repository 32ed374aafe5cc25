"""BADGE: k-means++ draws on the gradients of the last layer, so that a batch is uncertain and diverse at once.

Ash, Zhang, Krishnamurthy, Langford and Agarwal 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
Bounds".
"""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strategies.base import Pool, Selection, Strategy
from strategies.distances import Rows
from strategies.members import two_sided
from strategies.seeding import OuterProducts, plus_plus


class Badge(Strategy):
    """The first sample is drawn evenly, as k-means++ does; each other by its squared distance to the nearest drawn."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "embeddings"})
    summary: ClassVar[str] = "BADGE: k-means++ draws on the last layer's gradients, uncertain and diverse at once"
    scores_fall: ClassVar[bool] = False

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        rows = gradients(pool.features["probabilities"], pool.features["embeddings"])
        with threadpool_limits(limits=1):
            drawn = list(islice(plus_plus(rows, pool.canonical_order(), rng), budget))
        indices = np.array([row for row, _ in drawn], dtype=np.int64)
        left = pool.ties.ordered(np.setdiff1d(np.arange(len(pool)), indices))[: budget - len(drawn)]
        scores = np.sqrt([square for _, square in drawn] + [0.0] * len(left))
        indices = np.concatenate([indices, left])
        return Selection(indices, scores, {"gradient_norm": np.sqrt(rows.squares[indices])})


def gradients(probabilities: Rows, embeddings: Rows) -> OuterProducts:
    """g = (p - onehot(argmax p)) (x) h of each sample, with `probabilities` (N, C) and `embeddings` h (N, d).

    That is the gradient of the cross entropy by the last layer's weights, if the predicted class were the true one.
    """

    def errors(only: Any) -> NDArray[np.float64]:
        rows = two_sided(probabilities[only].astype(np.float64, order="C"))
        rows[np.arange(len(rows)), rows.argmax(axis=1)] -= 1.0
        return rows

    return OuterProducts(embeddings, errors)
