"""Request bodies, read as if the sender were hostile: capped, UTF-8, flat enough, strict JSON; then the schema.

`json_body` gives the whole object; `ndjson_uris` streams them in bounded memory. Nothing is parsed before its size and
nesting are known.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from math import isfinite
from typing import IO, Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from alaas.config.readings import unknown_key
from alaas.errors import InvalidRequest, MalformedRequest, TooLarge
from api.schema_errors import as_invalid_request

logger = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)

READ_BYTES = 64 * 1024
MAX_VALUES = 1_000_000  # of one JSON body
MAX_KEYS = 256
MAX_URI = 4096  # alaas.jobs.Uri says the same to the other bodies
MAX_DIGITS = 20  # a 64-bit integer and its sign; Python's own limit, 4,300 digits, is still quadratic to convert
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")


def read_capped(stream: IO[bytes], declared_bytes: int | None, max_bytes: int) -> Iterator[bytes]:
    """The body in pieces. Raises TooLarge above `max_bytes`, before reading where the length is declared."""
    if declared_bytes is not None and declared_bytes > max_bytes:
        raise TooLarge(f"the body has {declared_bytes} bytes; at most {max_bytes} are taken")
    size = 0
    while piece := read_piece(stream):
        size += len(piece)
        if size > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes")
        yield piece
    if declared_bytes is not None and size < declared_bytes:
        raise MalformedRequest("the body ended early")


def read_piece(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(READ_BYTES)
    except Exception as error:  # A reset, a timeout, a broken chunk: each server has its own classes for them.
        logger.info("a body could not be read: %s", type(error).__name__)
        raise MalformedRequest("the body ended early") from None


def json_object(data: bytes, max_depth: int, *, has_many_keys: bool = False) -> dict[str, Any]:
    """`data` as a JSON object. Raises MalformedRequest that says what is wrong and where."""
    value = json_value(data, max_depth, has_many_keys=has_many_keys)
    if not isinstance(value, dict):
        raise MalformedRequest("the body must be a JSON object")
    return value


def json_value(data: bytes, max_depth: int, *, has_many_keys: bool = False) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"not UTF-8 at byte {error.start}") from None
    _check_depth(data, max_depth)
    _check_count(data)
    try:
        value = (_MANY_KEYS if has_many_keys else _FEW_KEYS).decode(text)
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise MalformedRequest(f"nested deeper than {max_depth}") from None
    if "\\u" in text:
        _check_strings(value)
    return value


def _check_depth(data: bytes, max_depth: int) -> None:
    """Judge the nesting without parsing, in time linear in the size: strip the leaves once per level allowed."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    rest = _outside_strings(data).translate(_TO_SQUARE, delete=_NOT_BRACKETS)
    for _ in range(max_depth):
        shorter = rest.replace(b"[]", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    if rest:
        raise MalformedRequest(f"nested deeper than {max_depth}, or brackets that do not match")


def _check_count(data: bytes) -> None:
    """A value takes some hundred bytes of memory where its text takes two."""
    if data.count(b",") > MAX_VALUES and _outside_strings(data).count(b",") > MAX_VALUES:
        raise TooLarge(f"the body holds more than {MAX_VALUES} values; longer lists of samples are streamed as NDJSON")


def _outside_strings(data: bytes) -> bytes:
    # A backslash escapes what follows it, so pairs of them go first; the quotes that are left delimit strings.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])


def _check_strings(value: Any) -> None:
    """Refuse what escapes can smuggle in: lone surrogates (not UTF-8) and NUL (PostgreSQL has no place for it)."""
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidRequest("a string holds a NUL character")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise MalformedRequest("a string holds a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key)
            _check_strings(item)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedRequest(f"the key {key[:60]!a} is given twice")
            seen.add(key)
    return found


def _few(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise MalformedRequest(f"an object has {len(pairs)} keys; at most {MAX_KEYS} are taken here")
    return _unique(pairs)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise MalformedRequest(f"a number has {len(digits)} digits; at most {MAX_DIGITS} are taken")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise MalformedRequest("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"{name} is not JSON")


def _decoder(pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=_integer, parse_float=_finite, parse_constant=_refuse_constant
    )


_MANY_KEYS = _decoder(_unique)
_FEW_KEYS = _decoder(_few)


def parse_as(model: type[Model], data: bytes, max_depth: int, *, has_many_keys: bool = False) -> Model:
    """`data` as `model`. Raises MalformedRequest, or InvalidRequest naming the first field that is wrong.

    `has_many_keys`: an object of it is a mapping of any size; else pydantic would list a million unknown keys.
    """
    value = json_object(data, max_depth, has_many_keys=has_many_keys)
    unknown = next((key for key in value if key not in model.model_fields), None)
    if unknown is not None:
        raise InvalidRequest(unknown_key(unknown, set(model.model_fields)), field=unknown[:60])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise as_invalid_request(error, model, value) from None


def ndjson_uris(pieces: Iterator[bytes], max_line_bytes: int, max_depth: int) -> Iterator[str]:
    """The URI of each line that is not blank. The first bad line ends it with an error whose field is `line N`."""
    for number, line in _lines(pieces, max_line_bytes):
        try:
            if len(line) > max_line_bytes:
                raise TooLarge(f"a line has more than {max_line_bytes} bytes")
            if line.strip():
                yield _uri_of(json_value(line, max_depth))
        except InvalidRequest as error:
            error.field = f"line {number}"
            raise


def _lines(pieces: Iterator[bytes], max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1; one that is over the cap comes as far as it has been read."""
    number, rest = 1, b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from enumerate(lines, number)
        number += len(lines)
        if len(rest) > max_line_bytes:
            break
    yield number, rest


def _uri_of(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"uri"}:
        value = value["uri"]
    if not isinstance(value, str):
        raise InvalidRequest('expected a JSON string or {"uri": "..."}')
    if not 0 < len(value) <= MAX_URI:
        raise InvalidRequest(f"a URI has 1 to {MAX_URI} characters")
    return value
