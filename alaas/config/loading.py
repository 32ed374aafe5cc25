"""Command line > environment > file > default, read once into a frozen `Config`.

The environment names a setting by its path: `ALAAS_API__PORT=9000` sets `api.port`; values are read as YAML.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from alaas.config.readings import as_full_format, unknown_key
from alaas.config.schema import Config
from alaas.errors import ConfigError

logger = logging.getLogger(__name__)
# An error must not repeat the values of these, nor what is written in place of a section or list, which may hold them.
_SECRETS = {"url", "messages_url", "server", "user", "password", "sha256", "logins", "endpoint", "account"}
ENV_PREFIX = "ALAAS_"
CONFIG_PATH_ENV = "ALAAS_CONFIG"
MAX_FILE_BYTES = 1024 * 1024


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would silently keep the last, and all aliases.

    A few hundred bytes of nested aliases expand to gigabytes.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ConfigError(
                    f"line {key_node.start_mark.line + 1}: the key {key!r:.80} is not a word; put it in quotes"
                )
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: the key {key!r:.80} is given twice", field=key)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise ConfigError(f"line {line}: YAML aliases are not accepted")
        return super().compose_node(parent, index)


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The effective configuration.

    `path`: the file; None: `$ALAAS_CONFIG`, else defaults only. `overrides`: the command line's settings by dotted
    path (`{"api.port": 9000}`); None values are skipped. Raises ConfigError naming path, value and nearest name.
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get(CONFIG_PATH_ENV) or None
    raw: dict[str, Any] = {}
    warnings: list[str] = []
    if path is not None:
        raw, warnings = as_full_format(parse_file(read_text(Path(path)), str(path)))
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and "__" in name:
            _put(raw, name.removeprefix(ENV_PREFIX).lower().split("__"), parse_yaml(text, name), name)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(raw, dotted.split("."), value, dotted)
    for warning in warnings:
        logger.warning("%s", warning)
    return parse_config(raw)


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Check `raw` (full format) against the schema. Raises ConfigError for the first thing that is wrong."""
    raw = _with_empty_sections(raw, Config)
    try:
        # Strict validation takes enums, paths and tuples from JSON text, and nothing else that looks alike.
        return Config.model_validate_json(json.dumps(raw, allow_nan=False))
    except ValidationError as error:
        raise _as_config_error(error) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"holds a value that is not plain data: {error}") from None


def _with_empty_sections(raw: Mapping[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    """A section with all its lines commented out reads as null in YAML and means its defaults."""
    full = dict(raw)
    for name, field in section.model_fields.items():
        inner, value = field.annotation, full.get(name)
        if name in full and isinstance(inner, type) and issubclass(inner, BaseModel):
            full[name] = _with_empty_sections(value or {}, inner) if value is None or isinstance(value, dict) else value
    if isinstance(full.get("models"), dict):
        full["models"] = {name: {} if model is None else model for name, model in full["models"].items()}
    return full


def dump_config(config: Config, *, secrets: bool = False) -> str:
    """The configuration as YAML of the full format; secrets are hidden unless asked for."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return {key: plain(getattr(value, key)) for key in type(value).model_fields}
        if isinstance(value, SecretStr):
            return value.get_secret_value() if secrets else "**********"
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value if value is None or isinstance(value, bool | int | float) else str(value)

    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


def read_text(path: Path) -> str:
    """Raises ConfigError for a file that cannot be a configuration."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8") from None


def parse_file(text: str, where: str) -> dict[str, Any]:
    """A configuration's text, as it is written. `where`: the file, for errors. Raises ConfigError."""
    raw = parse_yaml(text, where)
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} holds no mapping at its top")
    return raw


def parse_yaml(text: str, where: str) -> Any:
    """A value. Raises ConfigError for a key given twice, aliases, and what is no YAML."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader with more checks
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply") from None


def _put(raw: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    for key in path[:-1]:
        inner = raw[key] = {} if raw.get(key) is None else raw[key]
        if not isinstance(inner, dict):
            raise ConfigError(f"{key!r} is not a section", field=where)
        raw = inner
    raw[path[-1]] = value


def _as_config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return ConfigError("holds text that is not Unicode (a lone surrogate)")
    if first["type"] == "extra_forbidden":
        return ConfigError(unknown_key(str(first["loc"][-1]), _known_keys(first["loc"][:-1])), field=path)
    if first["type"] == "value_error":
        detail = str(first["ctx"]["error"])
        return ConfigError(detail, field=path or detail.split(":")[0])
    said = first["msg"].replace("an object", "a mapping").replace("a valid array", "a list")
    return ConfigError(said + _given(first), field=path)


def _given(error: ErrorDetails) -> str:
    """What was written instead, where that can be no secret."""
    value, is_plain = error["input"], not error["type"].endswith(("model_type", "list_type", "dict_type"))
    if isinstance(value, dict | list) or _SECRETS & set(map(str, error["loc"])):
        return ""
    return f" (got {value!r:.80})" if is_plain or not isinstance(value, str) else ""


def _known_keys(location: tuple[Any, ...]) -> set[str]:
    """The keys of the schema's section at `location`."""
    section: Any = Config
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # the name of a model, or an index: its type is the container's last argument
            section = section.__args__[-1]
        if not isinstance(section, type) and type(None) in getattr(section, "__args__", ()):
            section = section.__args__[0]
    return set(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else set()
