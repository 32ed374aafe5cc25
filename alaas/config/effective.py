"""The configuration as the processes of a running fleet read it: nothing relative, nothing left to choose."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alaas.config.loading import dump_config, parse_config
from alaas.config.schema import Config


def effective_config(config: Config, chosen: Mapping[str, str | int]) -> Config:
    """`config` with paths made absolute from the start folder, and with what was chosen at start.

    `chosen`: values by dotted path, such as the URLs of the embedded servers and the ports that were 0.
    """
    raw: dict[str, Any] = yaml.safe_load(dump_config(config, secrets=True))
    raw["storage"]["data_dir"] = str(_absolute(config.storage.data_dir))
    raw["catalog"]["url"] = _absolute_database(config.catalog_url)
    raw["sources"]["file"]["roots"] = [str(root) for root in config.file_roots]
    if config.torch_hub.dir is not None:
        raw["torch_hub"]["dir"] = str(_absolute(config.torch_hub.dir))
    if config.flower.enabled and config.flower.password is None:
        raw["flower"]["password"] = secrets.token_urlsafe(12)
    for model in raw["models"].values():
        _make_absolute(model)
    for dotted, value in chosen.items():
        section, key = dotted.split(".")
        raw[section][key] = value
    return parse_config(raw)


def _make_absolute(model: dict[str, Any]) -> None:
    if model["path"] is not None:
        model["path"] = str(_absolute(Path(model["path"])))
    for key in ("weights", "repo"):  # Each is a path or a name; a path is what is there.
        if model[key] is not None and _absolute(Path(model[key])).exists():
            model[key] = str(_absolute(Path(model[key])))


def _absolute_database(url: str) -> str:
    """SQLite takes a relative path by three slashes and an absolute one by four."""
    scheme, slashes, path = url.partition(":///")
    if not scheme.startswith("sqlite") or not slashes or not path or path.startswith(("/", ":", "file:")):
        return url
    return f"{scheme}:///{_absolute(Path(path))}"


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()
