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


def two_sided(rows: NDArray[Float]) -> NDArray[Float]:
    """Probabilities (..., C) with one column read as [1 - p, p]."""
    return np.concatenate([1.0 - rows, rows], axis=-1) if rows.shape[-1] == 1 else rows


def pass_sums(members: Array) -> NDArray[np.float64]:
    """(N, C + 1) of `members` (N, T, C): the mean probabilities, then the mean entropy in nats. A block at a time."""
    made = np.empty((len(members), max(2, members.shape[2]) + 1))
    for block in row_blocks(members):
        opinions = two_sided(members[block].astype(np.float64, order="C"))
        made[block, :-1] = opinions.mean(axis=1)
        made[block, -1] = entr(opinions).sum(axis=2).mean(axis=1)
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
