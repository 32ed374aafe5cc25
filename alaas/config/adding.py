"""A model written into the operator's YAML as text, so that comments and order stay; and judged by reading it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from alaas.config.loading import parse_config, parse_file
from alaas.config.readings import as_full_format
from alaas.config.schema import Config
from alaas.errors import ConfigError

_INDENT = 2


def with_model(text: str, name: str, settings: Mapping[str, Any]) -> tuple[str, Config]:
    """`text` with one more model, and what it says then.

    Raises ConfigError for settings that the schema refuses, for a name that is taken, and with the block to be pasted
    by hand for a file that is written in another way than lines of `key: value`.
    """
    before = _models(text)
    if name in before:
        raise ConfigError("this model is there already; change it in the file", field=f"models.{name}")
    config = parse_config(_full(text) | {"models": before | {name: dict(settings)}})
    lines = text.splitlines(keepends=True)
    at, indent, opens = _place(text, lines)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if at and not lines[at - 1].endswith("\n"):
        lines[at - 1] += end
    made = "".join(
        [*lines[:at], *([f"models:{end}"] if opens else []), _block(name, settings, indent, end), *lines[at:]]
    )
    if _models_or_none(made) != before | {name: dict(settings)}:
        raise _by_hand(name, settings)
    return made, config


def _full(text: str) -> dict[str, Any]:
    return as_full_format(parse_file(text, "the file"))[0]


def _models(text: str) -> dict[str, Any]:
    return dict(_full(text).get("models") or {})


def _models_or_none(text: str) -> dict[str, Any] | None:
    try:
        return _models(text)
    except ConfigError:
        return None


def _place(text: str, lines: list[str]) -> tuple[int, int, bool]:
    """Before which line the block goes, how far it is indented, and whether `models:` must be written first."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    section = next(((key, value) for key, value in pairs if key.value == "models"), None)
    if section is None:
        return len(lines), _INDENT, True
    key, value = section
    if isinstance(value, yaml.MappingNode) and value.value:
        return _last_line(value) + 1, value.value[0][0].start_mark.column, False
    return key.start_mark.line + 1, _INDENT, False


def _last_line(node: yaml.Node) -> int:
    """Of a node's own text: comments and empty lines after it are not its."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        return max(_last_line(key), _last_line(value))
    end = node.end_mark
    return end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line


def _block(name: str, settings: Mapping[str, Any], indent: int, end: str) -> str:
    text = yaml.safe_dump({name: dict(settings)}, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return "".join(f"{' ' * indent}{line}{end}" for line in text.splitlines())


def _by_hand(name: str, settings: Mapping[str, Any]) -> ConfigError:
    block = _block(name, settings, _INDENT, "\n")
    return ConfigError(f"the file's models are not written as lines; paste this beneath them by hand:\n{block}")
