"""What pydantic found wrong, as one InvalidRequest that names the field and, for an unknown key, the nearest known."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from alaas.config.readings import unknown_key
from alaas.errors import InvalidRequest

Path = tuple[str | int, ...]


def as_invalid_request(error: ValidationError, model: type[BaseModel], value: Any) -> InvalidRequest:
    """`value` is what was validated: the way to the error is walked in it."""
    found = error.errors(include_url=False, include_context=False)
    first, path = _most_telling(found, value)
    field = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        return InvalidRequest(unknown_key(str(path[-1]), _known_keys(model, path[:-1])), field=field)
    if first["type"] == "missing":
        return InvalidRequest("is required", field=field)
    return InvalidRequest(f"{first['msg']} (got {_short(first['input'])})", field=field or None)


def _short(value: Any) -> str:
    """A value in a sentence, whatever its size."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    return ascii(value[:60] if isinstance(value, str) else value)


def _most_telling(found: list[ErrorDetails], value: Any) -> tuple[ErrorDetails, Path]:
    """The error of the first wrong field; of a union's several, the one that got furthest into the value.

    Of equals, what is wrong with a value tells more than which of its keys another member lacks.
    """
    walked = [(item, _walk(item, value)) for item in found]
    same_field = [(item, path) for item, path in walked if item["loc"][:1] == found[0]["loc"][:1]]
    return max(same_field, key=lambda pair: (len(pair[1]), pair[0]["type"] not in ("missing", "extra_forbidden")))


def _walk(item: ErrorDetails, value: Any) -> Path:
    """The error's location in the value, without the names that pydantic adds for the members of a union."""
    path: list[str | int] = []
    for part in item["loc"]:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif not (item["type"] == "missing" and part == item["loc"][-1]):
            continue
        path.append(part)
    return tuple(path)


def _known_keys(model: type[BaseModel], path: Path) -> set[str]:
    section: Any = model
    for part in path:
        inside = section.model_fields.get(part) if _is_model(section) else None
        section = _model_within(inside.annotation if inside is not None else section)
    return set(section.model_fields) if _is_model(section) else set()


def _model_within(annotation: Any) -> Any:
    if _is_model(annotation):
        return annotation
    return next((found for inner in get_args(annotation) if _is_model(found := _model_within(inner))), None)


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
