"""The table of every setting in docs/configuration.md, written from the schema: `python -m alaas.config.reference`.

A test compares the two, so that no setting is without its line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from alaas.config.fields import MIB
from alaas.config.schema import Config

MARK = "<!-- From here on written by `python -m alaas.config.reference`. -->"
_NAMES = {str: "text", int: "number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret text"}
_LOWER, _UPPER = ("ge", "gt"), ("le", "lt")


def markdown() -> str:
    """A heading and a table for each section, in the schema's order."""
    return "\n".join(_section("", Config)) + "\n"


def settings(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every setting by its dotted path; `NAME` and `N` stand for a key and for a place in a list."""
    for name, field in section.model_fields.items():
        inner, path = _inner(field.annotation), prefix + name
        if inner is None:
            yield path
        else:
            yield from settings(inner[0], f"{path}{inner[1]}.")


def _section(path: str, section: type[BaseModel]) -> Iterator[str]:
    yield f"\n### `{path}`\n" if path else "\n### At the top\n"
    if section.__doc__ and section is not Config:
        yield f"{' '.join(section.__doc__.split())}\n"
    yield "| setting | value | default | what it is |\n|---|---|---|---|"
    inner = {name: found for name, field in section.model_fields.items() if (found := _inner(field.annotation))}
    for name, field in section.model_fields.items():
        value = "a section, below" if name in inner else _kind(field.annotation) + _limits(field.metadata)
        default = "" if isinstance(field.default, BaseModel) else _default(field)
        yield f"| `{name}` | {value} | {default} | {_escaped(field.description or '')} |"
    for name, (kind, suffix) in inner.items():
        yield from _section(f"{path}.{name}{suffix}".lstrip("."), kind)


def _inner(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The section that a setting holds, and how its path goes on."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in get_args(annotation):
        if (found := _inner(argument)) is not None:
            return found[0], {dict: ".NAME", list: ".N"}.get(get_origin(annotation), "")
    return None


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys("null" if a is NoneType else _kind(a) for a in arguments))
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} of {_kind(arguments[0])}"
    if origin is dict:
        return "mapping"
    if origin is not None:  # Annotated, inside another type
        return _kind(arguments[0])
    if issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return _NAMES[annotation]


def _limits(metadata: list[Any]) -> str:
    def first(names: tuple[str, ...]) -> Any:
        return next((getattr(m, name) for m in metadata for name in names if hasattr(m, name)), None)

    lower, upper = first(_LOWER), first(_UPPER)
    if lower is None:
        return ""
    if upper is None:
        return f", {'above' if any(hasattr(m, 'gt') for m in metadata) else 'at least'} {_number(lower)}"
    return f", {_number(lower)} to {_number(upper)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, list):
        value = [v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else str(v) for v in value]
    if isinstance(value, dict):
        value = {k: v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else v for k, v in value.items()}
    return "" if value in ({}, [{}]) else f"`{_number(value)}`"


def _number(value: Any) -> str:
    if isinstance(value, bool | NoneType):
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int) and value >= MIB and value % MIB == 0:
        return f"{value} ({value // MIB} MiB)"
    if isinstance(value, str | Path):
        return str(value) or '""'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def rewritten(page: str) -> str:
    """`page` with everything below the mark written anew."""
    return page.partition(MARK)[0] + MARK + "\n" + markdown()


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/configuration.md")
    path.write_text(rewritten(path.read_text("utf-8")), "utf-8")
