"""QUIRE: query the sample whose label would disturb a regularised least-squares classifier most, whatever it is.

Huang, Jin and Zhou 2010, "Active Learning by Querying Informative and Representative Examples", NIPS, equation 8.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.linalg import cho_solve, cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.blocks import blocks_of
from strategies.caps import refuse_above_cap
from strategies.kernels import Classes, Values, class_count, gaussian_kernel, labelled_samples

_DIGITS = 10  # of the largest score; what lies below is the rounding of BLAS


class QUIRE(ScoringStrategy):
    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings", "labelled_classes"})
    summary: ClassVar[str] = (
        "QUIRE: informative and representative at once, by the least loss of a kernel classifier (small pools)"
    )

    regularisation: float = Field(
        default=1.0, ge=1e-6, le=1e6, description="lambda of the paper: large trusts the labels seen, small the pool"
    )
    gamma: float | None = Field(default=None, gt=0, le=1e12, description="of the kernel exp(-gamma |x - y|^2); 1 / d")
    n_classes: int | None = Field(default=None, ge=2, le=100_000, description="default: the largest class seen, plus 1")
    max_pool: int = Field(default=20_000, ge=1, le=10_000_000, description="refuse pools of more samples")
    max_labelled: int = Field(default=2_000, ge=1, le=100_000, description="refuse more labelled samples: cubic cost")

    def scores(self, pool: Pool) -> Scores:
        refuse_above_cap("QUIRE", len(pool), self.max_pool, "max_pool")
        labelled, classes = labelled_samples(pool)
        refuse_above_cap("QUIRE", len(labelled), self.max_labelled, "max_labelled")
        rows, order = pool.features["embeddings"], pool.canonical_order()
        scores = np.empty(len(pool))
        with threadpool_limits(limits=1):  # in canonical order and one thread BLAS rounds the same way every time
            model = _LeastSquares(labelled, _sides(classes, self.n_classes), self.regularisation, self.gamma)
            for block in blocks_of(len(pool), max(labelled.shape)):
                scores[order[block]] = -model.losses(rows[order[block]].astype(np.float64, order="C"))
        return _rounded(scores)


class _LeastSquares:
    """The loss of the paper for a query x_s, as a function of the labelled samples and x_s alone.

    The paper takes the least of y' (K + lambda I)^-1 y over the labels of the other unlabelled samples, any real
    numbers. A quadratic form at its least in some variables is the inverse of the inverse's block of the others: here
    y' (K_ls + lambda I)^-1 y over the labelled samples and x_s alone. With y_s = 1, k the kernel of x_s with the
    labelled, A = (K_l + lambda I)^-1 and a = y_l' A y_l, that is a + (1 - k' A y_l)^2 / (1 + lambda - k' A k).
    So the rest of the pool drops out, and nothing as large as its square is needed.
    """

    def __init__(self, labelled: Values, sides: Values, regularisation: float, gamma: float | None) -> None:
        self._labelled, self._gamma = labelled, gamma
        self._regularisation = regularisation
        kernel = gaussian_kernel(labelled, labelled, gamma) + regularisation * np.eye(len(labelled))
        self._factor: Values = cholesky(kernel, lower=True) if len(labelled) else kernel
        self._weights: Values = cho_solve((self._factor, True), sides) if len(labelled) else sides
        self._losses = (sides * self._weights).sum(axis=0)

    def losses(self, rows: Values) -> Values:
        """(M,) of the queries `rows` (M, d): the largest over the classes, each against the rest."""
        kernel = gaussian_kernel(rows, self._labelled, self._gamma)
        gaps = 1.0 - kernel @ self._weights
        variances = self._regularisation + np.maximum(0.0, 1.0 - self._explained(kernel))
        losses: Values = (self._losses + gaps**2 / variances[:, None]).max(axis=1)
        return losses

    def _explained(self, kernel: Values) -> Values:
        if not kernel.shape[1]:
            return np.zeros(len(kernel))
        halves = solve_triangular(self._factor, kernel.T, lower=True)
        explained: Values = np.square(halves).sum(axis=0)
        return explained


def _sides(classes: Classes, n_classes: int | None) -> Values:
    """(L, S) of 1 and -1: each class seen against the rest; where classes were not seen, one more column for them."""
    seen = np.unique(classes)
    sides = np.where(classes[:, None] == seen, 1.0, -1.0)
    has_unseen = class_count(n_classes, classes) > len(seen)
    return np.hstack([sides, np.full((len(classes), 1), -1.0)]) if has_unseen else sides


def _rounded(scores: Scores) -> Scores:
    largest = float(np.abs(scores).max(initial=0.0))
    return scores if largest == 0 else np.round(scores, _DIGITS - int(np.floor(np.log10(largest))))
