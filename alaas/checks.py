"""The client's arguments, checked by the API's own schema before anything is sent: the same errors, at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from operator import index
from os import PathLike, fspath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from alaas.errors import InvalidRequest

Request = TypeVar("Request", bound=BaseModel)
UriLike = str | PathLike[str]
MAX_URI = 4096


def checked(kind: type[Request], /, **values: Any) -> Request:
    """`values` as a request. Raises InvalidRequest with the field that is wrong."""
    present = {name: value for name, value in values.items() if value is not None}
    try:
        # By way of JSON: True is no number there, and strict types mean what they mean on the server.
        return kind.model_validate_json(json.dumps(present, default=_plain, allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{first['msg']} (got {first['input']!r:.80})", field=field) from None
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"a value is not plain data: {error}") from None


def checked_budget(budget: Any) -> int:
    """A whole number of at least 1; numpy's integers are taken, True and "3" are not."""
    number = None if isinstance(budget, bool) else _index_or_none(budget)
    if number is None or number < 1:
        raise InvalidRequest(f"a budget is a whole number of at least 1 (got {budget!r:.80})", field="budget")
    return number


def checked_uris(uris: Iterable[UriLike], field: str = "uris") -> Iterator[str]:
    """The URIs and paths as text, one by one. Raises InvalidRequest naming the first that cannot be one."""
    if isinstance(uris, str | bytes | PathLike) or not isinstance(uris, Iterable):
        raise InvalidRequest(f"expected a list of URIs (got {uris!r:.80})", field=field)
    return _each_uri(uris, field)


def _each_uri(uris: Iterable[UriLike], field: str) -> Iterator[str]:
    for position, uri in enumerate(uris):
        text = fspath(uri) if isinstance(uri, str | PathLike) else None
        if not isinstance(text, str) or not 0 < len(text) <= MAX_URI or not _can_travel(text):
            raise InvalidRequest(f"not a URI (got {uri!r:.80})", field=f"{field}.{position}")
        yield text


def _can_travel(text: str) -> bool:
    """False for a URI with a lone surrogate. A path may hold one (a name that is not UTF-8): it travels encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "://" not in text
    return True


def _plain(value: Any) -> Any:
    number = _index_or_none(value)
    if number is None:
        raise TypeError(f"{value!r:.80}")
    return number


def _index_or_none(value: Any) -> int | None:
    try:
        return index(value)
    except TypeError:
        return None
