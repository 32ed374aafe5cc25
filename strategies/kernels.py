"""The Gaussian kernel between rows, and labelled rows with their classes, for strategies that learn a model themselves.

Pairs are computed one by one from differences, not as a product of matrices: equal rows get equal values to the last
bit, wherever they stand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from strategies.base import Pool
from strategies.errors import StrategyError

Rows = NDArray[np.floating[Any]]
Values = NDArray[np.float64]
Classes = NDArray[np.int64]


def gaussian_kernel(rows: Values, others: Values, gamma: float | None) -> Values:
    """exp(-gamma |x - y|^2), (M, K) of `rows` (M, d) and `others` (K, d); gamma is 1 / d where it is None."""
    squares: Values = cdist(rows, others, "sqeuclidean")
    squares *= -(1.0 / rows.shape[1] if gamma is None else gamma)
    return np.exp(squares, out=squares)


def labelled_samples(pool: Pool) -> tuple[Values, Classes]:
    """(L, d) embeddings and (L,) classes of the labelled samples that have both; L = 0 while nothing is labelled."""
    rows = pool.features["embeddings"]
    labelled = pool.features.get("labelled_embeddings", rows[:0])
    classes = pool.features.get("labelled_classes", np.empty(0))
    _refuse_other_lengths(len(labelled), len(classes))
    return labelled.reshape(-1, rows.shape[1]).astype(np.float64, order="C"), classes.astype(np.int64)


def class_count(given: int | None, classes: Classes) -> int:
    """`given`, or where it is None the largest class and all below it, 2 at least. Raises StrategyError if too few."""
    seen = int(classes.max(initial=0)) + 1
    if given is not None and given < seen:
        raise StrategyError(
            f"labelled_classes holds class {seen - 1}, beyond the n_classes {given}: classes count from 0",
            field="n_classes",
        )
    return max(2, seen) if given is None else given


def _refuse_other_lengths(embeddings: int, classes: int) -> None:
    if embeddings != classes:
        raise StrategyError(
            f"there are {embeddings} labelled_embeddings and {classes} labelled_classes; give one class for each",
            field="labelled_classes",
        )
