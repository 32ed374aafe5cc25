"""Which columns of a manifest count, and what a row of it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from alaas.errors import ManifestError
from alaas.jobs import Listing

SHOWN_COLUMNS = 20
MAX_LABEL = 200
URI, TEXT = "uri", "text"


class ManifestRow(NamedTuple):
    """`number` from 1, the header not counted. `value` and `label` as the file holds them; None: nothing there."""

    number: int
    value: Any
    label: Any = None


def label_of(cell: Any) -> str | None:
    """The label that a cell holds; None for an empty one. Raises ValueError for what is no text of 1 to 200 characters.

    Whole numbers are texts here: many number their classes.
    """
    if cell is None or cell == "":
        return None
    label = str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell
    if not isinstance(label, str) or len(label) > MAX_LABEL or any(map(_is_unfit, label)):
        raise ValueError("no label")
    return label


def _is_unfit(letter: str) -> bool:
    """Control characters and lone surrogates, as in the labels of a request."""
    return letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff"


@dataclass(frozen=True)
class Columns:
    """What the user says of them; without a name, `uri` is taken, and in a dataset of texts else `text`."""

    uri: str | None = None
    text: str | None = None
    label: str | None = None
    takes_texts: bool = False

    @classmethod
    def of(cls, listing: Listing, modality: str) -> Columns:
        """Raises ManifestError where the two contradict each other."""
        if listing.column is not None and listing.text_column is not None:
            raise ManifestError("give a column of URIs or one of texts, not both", field="listing.text_column")
        if listing.text_column is not None and modality != "text":
            detail = f"a column of texts goes into a dataset of texts; this one holds {modality}"
            raise ManifestError(detail, field="listing.text_column")
        return cls(listing.column, listing.text_column, listing.label_column, modality == "text")

    def found_in(self, names: Sequence[str]) -> Found:
        """Where they are. Raises ManifestError, naming the columns that are there."""
        value = self.text or self.uri or self._by_default(names)
        is_text = value == self.text or (self.uri is None and value == TEXT)
        label = None if self.label is None else _place(self.label, names, "listing.label_column")
        hint = "" if self.text or self.uri else "; name the column of URIs, or that of texts as text_column"
        return Found(_place(value, names, self.value_field, hint), label, is_text)

    @property
    def value_field(self) -> str:
        """What the user names the column of the samples by."""
        return "listing.text_column" if self.text else "listing.column"

    def refuse_names(self) -> None:
        """Of rows that are bare strings. `text` stays, since it says what the strings are. Raises ManifestError."""
        for field, name in (("column", self.uri), ("label_column", self.label)):
            if name is not None:
                detail = f"the manifest has no column {name!r:.80}; its rows are bare strings"
                raise ManifestError(detail, field=f"listing.{field}")

    def _by_default(self, names: Sequence[str]) -> str:
        return TEXT if self.takes_texts and URI not in names and TEXT in names else URI


class Found(NamedTuple):
    """Places of the columns, from 0; `is_text`: the values are texts, not URIs."""

    value: int
    label: int | None
    is_text: bool


def _place(name: str, names: Sequence[str], field: str, hint: str = "") -> int:
    count = Counter(names)[name]
    if count > 1:
        raise ManifestError(f"the manifest has the column {name!r:.80} {count} times", field=field)
    if count == 0:
        shown = ", ".join(f"{one:.60}" for one in names[:SHOWN_COLUMNS])
        more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
        known = f"it has: {shown or 'none'}{more}{hint}"
        raise ManifestError(f"the manifest has no column {name!r:.80}; {known}", field=field)
    return list(names).index(name)
