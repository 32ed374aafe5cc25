"""CSV (RFC 4180): UTF-8, the columns' names in the first row, as many fields in every other."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from alaas.errors import ManifestError
from alaas.manifests.columns import Columns, Found, ManifestRow

if TYPE_CHECKING:
    from _csv import Reader

MAX_FIELD = 64 * 1024 * 1024  # characters: of a text; Python's own limit is 128 KiB


def csv_rows(file: IO[bytes], columns: Columns) -> tuple[bool, Iterator[ManifestRow]]:
    """Whether the values are texts, and the rows."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    reader = csv.reader(_lines(file), strict=True)
    header = next(_checked(reader), None)
    if header is None:
        raise ManifestError("the manifest is empty", field="listing.uri")
    found = columns.found_in([name.strip() for name in header])
    return found.is_text, _rows(reader, found, len(header))


def _rows(reader: Reader, found: Found, width: int) -> Iterator[ManifestRow]:
    for number, row in enumerate((row for row in _checked(reader) if row), start=1):
        if len(row) != width:
            detail = f"line {reader.line_num} has {len(row)} fields; the first line has {width}"
            raise ManifestError(detail, field="listing.uri")
        label = None if found.label is None else row[found.label]
        yield ManifestRow(number, row[found.value], label)


def _checked(reader: Reader) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ManifestError(f"line {reader.line_num} is not CSV: {error}", field="listing.uri") from None


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Decoded line by line, so that what is no text is named by its line."""
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise ManifestError(f"line {number} is not UTF-8", field="listing.uri") from None
        if "\0" in text:
            raise ManifestError(f"line {number} holds a NUL character", field="listing.uri")
        yield text
