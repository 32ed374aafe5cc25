"""Triton's config.pbtxt: a message of Protocol Buffers in text format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

Field = tuple[str, Any]
"""Name and value: a message is a list of fields, bytes are the word of an enumeration, a string is a string."""


def text(fields: Sequence[Field]) -> str:
    return "\n".join(_lines(fields, "")) + "\n"


def _lines(fields: Sequence[Field], indent: str) -> Iterator[str]:
    for name, value in fields:
        if isinstance(value, list):
            yield f"{indent}{name} {{"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: str | bytes | int) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, int):
        return str(value)
    # JSON's escapes are among those of the text format, apart from those beyond ASCII, which need none.
    return json.dumps(value, ensure_ascii=False)
