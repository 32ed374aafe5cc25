"""Judgement of every text before it reaches a database: PostgreSQL holds no NUL, and neither holds a lone surrogate."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from alaas.errors import InvalidRequest, NotFound

MAX_URI = 4096
MAX_NAME = 200
MAX_TAGS = 50
_ID = re.compile(r"[0-9a-f]{32}\Z")


def check_text(value: object, field: str, longest: int = MAX_NAME) -> str:
    """`value` when it is a text of 1 to `longest` characters that every database can hold, else InvalidRequest."""
    encode_text(value, field, longest)
    return str(value)


def encode_text(value: object, field: str, longest: int) -> bytes:
    """The text in UTF-8; InvalidRequest as in `check_text`."""
    if not isinstance(value, str):
        raise InvalidRequest("is not a text", field=field)
    if not 0 < len(value) <= longest:
        raise InvalidRequest(f"has {len(value)} characters; 1 to {longest} are accepted", field=field)
    if "\x00" in value:
        raise InvalidRequest("holds a NUL character", field=field)
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("is not valid Unicode: it holds a lone surrogate", field=field) from None


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"there are {len(tags)} tags; {MAX_TAGS} are accepted", field="tags")
    return {check_text(name, "tags"): check_text(value, "tags") for name, value in tags.items()}


def check_limit(limit: int) -> int:
    if limit < 1:
        raise InvalidRequest(f"is {limit}; at least 1 is accepted", field="limit")
    return limit


def as_json(value: Mapping[str, Any], field: str) -> str:
    """Compact JSON of plain data; InvalidRequest for what is not, NaN and lone surrogates included."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("is not plain JSON data", field=field) from None
    return text


def sample_id(uri: str) -> str:
    """The id of the sample with this URI, the same in every dataset: 32 hexadecimal digits."""
    return sample_key(uri, "uris").hex()


def sample_key(uri: object, field: str) -> bytes:
    """The sample's id as the catalog stores it; InvalidRequest for what cannot be a URI of a sample."""
    return blake2b(encode_text(uri, field, MAX_URI), digest_size=16).digest()


def known_form(identifier: str, what: str) -> str:
    """`identifier` when it has the form of our ids; NotFound otherwise, as for any other id that names nothing."""
    if not _ID.match(identifier):
        raise NotFound(f"There is no such {what}.")
    return identifier


def cursor(after: str | None) -> str | None:
    """A page's cursor is the id of the last item before it."""
    if after is not None and not _ID.match(after):
        raise bad_cursor()
    return after


def bad_cursor() -> InvalidRequest:
    return InvalidRequest("is no cursor that this list gave", field="after")
