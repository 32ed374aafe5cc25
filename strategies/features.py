"""What a pool may hold: ids and feature arrays are checked here once, so that no strategy has to.

A feature that is not in `_CHECKS` only has to be finite; a kind that has rules of its own gets a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from strategies.blocks import row_blocks
from strategies.errors import StrategyError
from strategies.members import two_sided

Feature = NDArray[np.floating[Any]]

SUM_TOLERANCE = 1e-3
MOST_CLASSES = 2**24  # up to here float32 counts without a gap
ENTROPY_TOLERANCE = 0.02  # more than rounding to float16 brings about
LABELLED_PREFIX = "labelled_"  # features of the labelled samples have L rows, all others one row for each id
_LARGEST = np.float64(np.finfo(np.float32).max)
_NAMED_ROWS = 5


def checked_ids(ids: Sequence[str] | NDArray[np.str_]) -> tuple[str, ...]:
    """`ids` as a tuple. Raises StrategyError for ids that are not text or that repeat."""
    known = tuple(ids.tolist()) if isinstance(ids, np.ndarray) else tuple(ids)
    if not all(issubclass(kind, str) for kind in set(map(type, known))):
        raise StrategyError("every id must be text", field="ids")
    if len(set(known)) < len(known):
        first: dict[str, int] = {}
        rows = [row for row, name in enumerate(known) if first.setdefault(name, row) != row]
        raise StrategyError(f"ids repeat: {_named(rows)}, as {known[rows[0]]!r:.100}", field="ids", rows=rows)
    return known


def checked_features(features: Mapping[str, Any], size: int) -> dict[str, Feature]:
    """Read-only views of `features`, each checked by its rules. Raises StrategyError naming feature and rows."""
    views = {name: _checked(name, value, size) for name, value in features.items()}
    # While nothing is labelled there is no width to tell, so that an empty array is as good as none.
    views = {name: view for name, view in views.items() if len(view) or not name.startswith(LABELLED_PREFIX)}
    for name, labelled in views.items():
        pool = views.get(name.removeprefix(LABELLED_PREFIX), labelled)
        if len(labelled) and len(pool) and labelled.shape[1:] != pool.shape[1:]:
            raise StrategyError(f"{name} has rows of {labelled.shape[1:]}, the pool's are {pool.shape[1:]}", field=name)
    return views


def _checked(name: str, value: Any, size: int) -> Feature:
    try:
        array = np.asarray(value).view()
    except ValueError:
        raise StrategyError(f"{name} has rows of several lengths", field=name) from None
    array.flags.writeable = False
    if not np.issubdtype(array.dtype, np.floating):
        raise StrategyError(f"{name} must be an array of floats, not of {array.dtype}", field=name)
    if array.ndim != _DIMENSIONS.get(name.removeprefix(LABELLED_PREFIX), max(1, array.ndim)):
        raise StrategyError(
            f"{name} must have one row of values for each sample, not the shape {array.shape}", field=name
        )
    if not name.startswith(LABELLED_PREFIX) and len(array) != size:
        raise StrategyError(f"{name} has {len(array)} rows for {size} ids", field=name)
    if len(array) and not array[0].size:
        raise StrategyError(f"{name} has rows without values", field=name)
    if name in _MEMBERS and len(array) and array.shape[1] < 2:
        raise StrategyError(f"{name} holds {array.shape[1]} of the {_MEMBERS[name]}; it takes 2 or more", field=name)
    _refuse(name, array, _is_not_finite, "hold NaN, Inf or what float32 cannot hold")
    for test, complaint in _CHECKS.get(name.removeprefix(LABELLED_PREFIX), ()):
        _refuse(name, array, test, complaint)
    return array


def _refuse(name: str, array: Feature, test: Callable[[Feature], NDArray[np.bool_]], complaint: str) -> None:
    found = [np.flatnonzero(test(array[block])) + block.start for block in row_blocks(array)]
    rows = [int(row) for row in np.concatenate(found)] if found else []
    if rows:
        raise StrategyError(f"{name}: {_named(rows)} {complaint}", field=name, rows=rows)


def _named(rows: Sequence[int]) -> str:
    """`row 3 (1 in all)`, or `rows 3, 5, ... (90 in all)`."""
    shown = ", ".join(map(str, rows[:_NAMED_ROWS])) + (", ..." if len(rows) > _NAMED_ROWS else "")
    return f"{'row' if len(rows) == 1 else 'rows'} {shown} ({len(rows)} in all)"


def _is_not_finite(block: Feature) -> NDArray[np.bool_]:
    # The comparison is False for NaN, and refuses float64 beyond what the squares of distances can bear.
    return ~np.asarray(np.abs(block).reshape(len(block), -1).max(axis=1) <= _LARGEST)


def _is_negative(block: Feature) -> NDArray[np.bool_]:
    return np.asarray(block.reshape(len(block), -1).min(axis=1) < 0)


def _has_wrong_sum(block: Feature) -> NDArray[np.bool_]:
    """Sigmoid scores of several classes do not sum to 1; one column alone is read as [1 - p, p]."""
    if block.shape[-1] == 1:
        wrong = block > 1
    else:
        wrong = np.abs(block.astype(np.float64, order="C").sum(axis=-1) - 1.0) > SUM_TOLERANCE
    return np.asarray(wrong.reshape(len(block), -1).any(axis=1))


def _has_wrong_mean(block: Feature) -> NDArray[np.bool_]:
    return _has_wrong_sum(block[:, :-1]) if block.shape[1] > 1 else np.ones(len(block), dtype=np.bool_)


def _has_too_much_entropy(block: Feature) -> NDArray[np.bool_]:
    """A mean of entropies is at most the entropy of the mean, in nats. Sums over passes and bits are more."""
    sums = block.astype(np.float64, order="C")
    return np.asarray(sums[:, -1] > entr(two_sided(sums[:, :-1])).sum(axis=1) + ENTROPY_TOLERANCE)


def _has_several_columns(block: Feature) -> NDArray[np.bool_]:
    return np.full(len(block), block.shape[1] != 1)


def _is_above_one(block: Feature) -> NDArray[np.bool_]:
    return np.asarray(block.reshape(len(block), -1).max(axis=1) > 1)


def _is_no_class(block: Feature) -> NDArray[np.bool_]:
    no_class: NDArray[np.bool_] = (block < 0) | (block != np.floor(block)) | (block >= MOST_CLASSES)
    return no_class


_DIMENSIONS = {"probabilities": 2, "embeddings": 2, "passes": 3, "committee": 3, "pass_sums": 2}
_DIMENSIONS |= {"boundary_distances": 2, "classes": 1, "label_probabilities": 2, "box_scores": 2}
_MEMBERS = {"passes": "stochastic passes", "committee": "models"}
_Check = tuple[Callable[[Feature], NDArray[np.bool_]], str]
_DISTRIBUTION: tuple[_Check, ...] = (
    (_is_negative, "hold negative probabilities"),
    (
        _has_wrong_sum,
        f"do not sum to 1 within {SUM_TOLERANCE} (softmax the logits; sigmoid scores are no distribution)",
    ),
)
_CHECKS: dict[str, tuple[_Check, ...]] = {
    "probabilities": _DISTRIBUTION,
    "passes": _DISTRIBUTION,
    "committee": _DISTRIBUTION,
    "pass_sums": (
        (_is_negative, "hold negative probabilities or entropies"),
        (_has_wrong_mean, f"hold a mean that does not sum to 1 within {SUM_TOLERANCE}"),
        (_has_too_much_entropy, "hold a mean entropy above that of the mean (take the mean over passes, in nats)"),
    ),
    "label_probabilities": (
        (_is_negative, "hold negative probabilities (take the sigmoid of the logits)"),
        (_is_above_one, "hold probabilities above 1 (take the sigmoid of the logits)"),
    ),
    "box_scores": (
        (_is_negative, "hold negative scores"),
        (_is_above_one, "hold scores above 1"),
    ),
    "boundary_distances": (
        (_is_negative, "hold negative distances"),
        (_has_several_columns, "hold several values; give the distance to the nearest boundary alone"),
    ),
    "classes": ((_is_no_class, "hold what is no number of a class"),),
}
