"""JSON lines: an object a line, or just a string, which is a URI. Strict: UTF-8, no key twice, no NaN."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, NoReturn

from alaas.errors import ManifestError
from alaas.manifests.columns import Columns, ManifestRow

MAX_LINE_BYTES = 64 * 1024 * 1024


def json_rows(file: IO[bytes], columns: Columns) -> tuple[bool, Iterator[ManifestRow]]:
    """Whether the values are texts, and the rows."""
    values = _values(file)
    first = next(values, None)
    if first is None:
        raise ManifestError("the manifest is empty", field="listing.uri")
    again = chain([first], values)
    if isinstance(first, str):
        columns.refuse_names()
        return columns.text is not None, _strings(again)
    names = list(first)
    found = columns.found_in(names)
    label = None if found.label is None else names[found.label]
    return found.is_text, _objects(again, names[found.value], label)


def _strings(values: Iterator[str | dict[str, Any]]) -> Iterator[ManifestRow]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise ManifestError(f"row {number} is an object, where the first is a string", field="listing.uri")
        yield ManifestRow(number, value)


def _objects(values: Iterator[str | dict[str, Any]], name: str, label: str | None) -> Iterator[ManifestRow]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise ManifestError(f"row {number} is a string, where the first is an object", field="listing.uri")
        yield ManifestRow(number, value.get(name), None if label is None else value.get(label))


def _values(file: IO[bytes]) -> Iterator[str | dict[str, Any]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES:
            raise ManifestError(f"line {number} has {MAX_LINE_BYTES} bytes or more", field="listing.uri")
        if line.strip():
            yield _value(line, number)


def _value(line: bytes, number: int) -> str | dict[str, Any]:
    try:
        value = _DECODER.decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise ManifestError(f"line {number} is not UTF-8", field="listing.uri") from None
    except RecursionError:
        raise ManifestError(f"line {number} is nested too deeply", field="listing.uri") from None
    except ValueError as error:
        detail = f"line {number} is not JSON: {getattr(error, 'msg', error)}"
        raise ManifestError(detail, field="listing.uri") from None
    if not isinstance(value, str | dict):
        raise ManifestError(f"line {number} is neither an object nor a string", field="listing.uri")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
