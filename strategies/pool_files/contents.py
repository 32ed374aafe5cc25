"""What both formats come down to: ids, features and sources; the caps; and what is said of rows that are wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.base import Pool
from strategies.errors import StrategyError
from strategies.features import LABELLED_PREFIX

POOL_FEATURES = frozenset(
    {"probabilities", "label_probabilities", "box_scores", "embeddings", "passes", "committee", "pass_sums"}
    | {"boundary_distances"}
)
LABELLED_FEATURES = frozenset({"labelled_embeddings", "labelled_classes"})
IDS, SOURCES = "ids", "sources"
TEXTS = {IDS, SOURCES}
MAX_TEXT = 4096  # characters of an id, as of a URI
_ALIASES = {"id": IDS, "source": SOURCES}
_TEXT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,4096}")
_SHOWN_ROWS = 5


class PoolTooLarge(StrategyError):
    """More rows, values or members than the limits allow."""


@dataclass(frozen=True)
class PoolLimits:
    """`max_rows` of the pool, and of the labelled samples. `max_bytes` of all arrays together, once they are read."""

    max_rows: int
    max_bytes: int

    def check_rows(self, count: int, field: str = IDS) -> None:
        if count > self.max_rows:
            raise PoolTooLarge(f"{field} has {count} rows; at most {self.max_rows} are taken", field=field)

    def check_bytes(self, count: int) -> None:
        if count > self.max_bytes:
            raise PoolTooLarge(f"the file unpacks to {count} bytes; at most {self.max_bytes} are taken", field="file")


@dataclass(frozen=True)
class PoolContents:
    """`ids` (N,), `features` by name as strategies.Pool takes them, `sources` (N,) where the file tells them."""

    ids: Sequence[str]
    features: Mapping[str, NDArray[np.floating[Any]]]
    sources: Sequence[str] | None = None

    def pool(self, seed: int) -> Pool:
        """Raises StrategyError naming the feature and its rows."""
        return Pool(self.ids, self.features, seed)


def known_name(name: str, also: Collection[str]) -> str:
    """`name` as we call it. Raises StrategyError with the nearest known. `also`: names that the strategy needs."""
    name = _ALIASES.get(name, name)
    known = TEXTS | POOL_FEATURES | LABELLED_FEATURES | set(also)
    if name not in known:
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        raise StrategyError(f"unknown name {name!r:.80}; nearest known: {near[0]!r}", field=name[:80])
    return name


def is_labelled(name: str) -> bool:
    """Whether it has a row for each labelled sample, not for each of the pool."""
    return name.startswith(LABELLED_PREFIX)


def check_present(names: Collection[str]) -> None:
    if IDS not in names:
        raise StrategyError("the file has no ids: every row needs a text or a whole number of its own", field=IDS)


def checked_texts(values: Iterable[Any], field: str) -> list[str]:
    """Texts as they are, and whole numbers as text. Raises StrategyError naming the rows that are neither."""
    texts = [value if isinstance(value, str) else "" if value is None else str(value) for value in values]
    wrong = [row for row, text in enumerate(texts) if not _TEXT.fullmatch(text)]
    if wrong:
        said = f"missing, blank, longer than {MAX_TEXT} characters or with control characters"
        raise StrategyError(f"{field}: {named_rows(wrong)} {said}", field=field, rows=wrong)
    return texts


def check_floats(name: str, kind: str, size_bytes: int, found: str) -> None:
    """Raises StrategyError unless numbers of `kind` (NumPy's letter) serve as the feature `name`."""
    is_class = name == "labelled_classes" and kind in "iu"
    if not is_class and (kind != "f" or size_bytes > 8):
        raise StrategyError(f"{name} must hold floats of 16, 32 or 64 bits, not {found:.80}", field=name)


def as_feature(name: str, array: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """`array` as the zoo takes it: numbers of classes as floats, one distance a row as a column."""
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if name == "boundary_distances" and array.ndim == 1:
        array = array[:, None]
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def named_rows(rows: Sequence[int]) -> str:
    """`row 3 is`, or `rows 3, 5, ... (90 in all) are`."""
    shown = ", ".join(map(str, rows[:_SHOWN_ROWS])) + (", ..." if len(rows) > _SHOWN_ROWS else "")
    return f"row {shown} is" if len(rows) == 1 else f"rows {shown} ({len(rows)} in all) are"
