"""Random opinions of passes or models, and scikit-activeml's strategies on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def random_members(
    rng: np.random.Generator, size: int, members: int, classes: int, *, spread: float = 1.0
) -> NDArray[np.float64]:
    """(N, M, C) softmax of what is common to a sample's members and what is not, so that disagreement varies."""
    own = spread * rng.random((size, 1, 1)) * rng.normal(size=(size, members, classes))
    logits = 2.0 * (rng.normal(size=(size, 1, classes)) + own)
    if classes == 1:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    exponentials = np.exp(logits)
    return np.asarray(exponentials / exponentials.sum(axis=2, keepdims=True))


def query_of_scikit_activeml(name: str, members: Array, batch_size: int, **parameters: Any) -> tuple[Array, Array]:
    """Indices (b,) and utilities (b, N) of scikit-activeml's strategy `name` on `members` (N, M, C)."""
    from skactiveml import pool
    from skactiveml.base import SkactivemlClassifier

    class Committee(SkactivemlClassifier):  # type: ignore[misc]  # no types of its own
        """A fitted ensemble whose opinions on sample i are those given for it."""

        def fit(self, X: Array, y: Array, sample_weight: Any = None) -> Any:
            self.classes_ = np.arange(members.shape[2])
            return self

        def predict_freq(self, X: Array) -> Array:
            raise NotImplementedError

        def sample_proba(self, X: Array) -> Array:
            return np.array(members[X[:, 0].astype(int)].transpose(1, 0, 2), order="C")

    rows, labels = np.arange(len(members), dtype=float)[:, None], np.full(len(members), np.nan)
    strategy = getattr(pool, name)(sample_predictions_method_name="sample_proba", random_state=0, **parameters)
    ensemble = Committee(classes=np.arange(members.shape[2])).fit(rows, labels)
    found: tuple[Array, Array] = strategy.query(
        rows, labels, ensemble, fit_ensemble=False, batch_size=batch_size, return_utilities=True
    )
    return found
