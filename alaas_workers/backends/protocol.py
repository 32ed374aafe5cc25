"""The one interface of all engines, and what every engine owes its caller beyond it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from alaas.errors import ModelError, Transient
from alaas.jobs import Feature, ModelCard

Rows = npt.NDArray[np.float32]
Arrays = Sequence[npt.NDArray[Any]]


class EngineAway(Transient):
    """What runs the model, on another machine perhaps, does not answer; it comes back some day."""

    code = "engine_away"


class EngineChanged(Transient):
    """It answers, and the model is not the one that the card tells of: open the backend anew."""

    code = "engine_changed"


class Backend(Protocol):
    """A loaded model on its devices. tests/contracts/test_backends.py says what each must do.

    `infer` may be called by several threads at once, and a row depends on its array alone: not on the chunk it came in,
    nor on the order.
    """

    @property
    def card(self) -> ModelCard:
        """Complete: fingerprint, transform, widths, outputs."""

    def infer(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> dict[Feature, Rows]:
        """Float32 (N, width) for each of `features`, row by row for `arrays` (N of the transform's `preprocess`).

        Calls `on_progress` after each batch. A sample for which the model gives NaN or Inf has NaN in every row of it.
        Raises ModelError for a feature that the model lacks, and for outputs of the wrong length; EngineAway and
        EngineChanged where the model runs elsewhere. What it gives is wholly of the model that `card` tells of.
        """

    def close(self) -> None:
        """Give back threads and device memory. Safe to call twice."""


@runtime_checkable
class RemoteBackend(Backend, Protocol):
    """One whose model runs where it may change without us."""

    def check(self) -> None:
        """Raises EngineChanged where the model is not the one that `card` tells of, and EngineAway."""


def bad_rows(features: dict[Feature, Rows]) -> npt.NDArray[np.bool_]:
    """(N,) True where some feature of the sample is not finite: the caller lists it as BAD_OUTPUT."""
    bad: npt.NDArray[np.bool_] = np.any([~np.isfinite(rows).all(axis=1) for rows in features.values()], axis=0)
    return bad


def blank_bad_rows(features: dict[Feature, Rows]) -> dict[Feature, Rows]:
    """`features` with NaN in every row of a sample that has a value which is not finite."""
    bad = bad_rows(features)
    for rows in features.values():
        rows[bad] = np.nan
    return features


def empty_rows(card: ModelCard, features: Collection[Feature], count: int) -> dict[Feature, Rows]:
    """Room for the result. Raises ModelError for a feature that the model lacks."""
    for feature in features:
        if feature not in (card.outputs or ()):
            why = card.lacking.get(feature, "it computes no such thing")
            raise ModelError(
                f"model {card.name!r} gives no {feature.value}: {why}; take another strategy", field="strategy"
            )
    return {feature: np.full((count, card.width(feature)), np.nan, np.float32) for feature in features}
