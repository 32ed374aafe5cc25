"""Several opinions on one sample, of stochastic passes or of a committee's models, as the two sums that BALD needs.

Houlsby, Huszar, Ghahramani and Lengyel 2011, "Bayesian Active Learning for Classification and Preference Learning".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from strategies.blocks import row_blocks

Array = NDArray[np.floating[Any]]
Float = TypeVar("Float", bound=np.floating[Any])


class PassSums:
    """Adds up passes one at a time, so that T passes over N samples take memory for one."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: NDArray[np.float64] | None = None
        self._entropy: NDArray[np.float64] | None = None

    def add(self, probabilities: Array) -> None:
        """One pass: (N, C), rows sum to 1; one column is read as [1 - p, p]."""
        rows = two_sided(probabilities.astype(np.float64, order="C"))
        entropies = entr(rows).sum(axis=1)
        if self._mean is None or self._entropy is None:
            self._mean, self._entropy = np.zeros_like(rows), np.zeros_like(entropies)
        self._mean += rows
        self._entropy += entropies
        self._count += 1

    def rows(self) -> NDArray[np.float64]:
        """(N, C + 1): mean probabilities, then mean entropy in nats. Needs one pass at least."""
        if self._mean is None or self._entropy is None:
            raise ValueError("no pass was added")
        return np.column_stack([self._mean, self._entropy]) / self._count


def two_sided(rows: NDArray[Float]) -> NDArray[Float]:
    """Probabilities (..., C) with one column read as [1 - p, p]."""
    return np.concatenate([1.0 - rows, rows], axis=-1) if rows.shape[-1] == 1 else rows


def pass_sums(members: Array) -> NDArray[np.float64]:
    """(N, C + 1) of `members` (N, T, C): see PassSums. A block of rows at a time."""
    classes = max(2, members.shape[2])
    made = np.empty((len(members), classes + 1))
    for block in row_blocks(members):
        sums = PassSums()
        for number in range(members.shape[1]):
            sums.add(members[block, number])
        made[block] = sums.rows()
    return made


def with_derived(features: Mapping[str, Array]) -> dict[str, Array]:
    """`features`, with what is not given and can be made of others.

    "passes" is the "committee", since a committee's models are opinions like passes; "pass_sums" is made from "passes".
    """
    known = dict(features)
    if "committee" in known:
        known.setdefault("passes", known["committee"])
    if "passes" in known and "pass_sums" not in known:
        known["pass_sums"] = pass_sums(known["passes"])
        known["pass_sums"].flags.writeable = False
    return known
