"""Which files and folders of the configuration's models are not here: told before a worker stumbles over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alaas.config import Config, ModelConfig

_WEIGHT_SUFFIXES = (".pt", ".pth", ".th", ".safetensors", ".bin", ".ckpt", ".pkl")


def missing_files(config: Config) -> list[tuple[str, str]]:
    """(setting, what is not there) of each, as seen from the current folder; nothing is opened."""
    return [
        (f"models.{name}.{key}", f"there is no {kind} {path}")
        for name, model in config.models.items()
        for key, path, kind in _named(model)
        if not _is_there(Path(path).expanduser(), kind)
    ]


def _named(model: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Setting, path, and what it must be, for each setting that names one and not a thing elsewhere."""
    if model.path is not None:
        yield "path", str(model.path), "file"
    where = (model.builder or "").rpartition(":")[0]
    if where.endswith(".py"):
        yield "builder", where, "file"
    if model.weights is not None and ("/" in model.weights or model.weights.endswith(_WEIGHT_SUFFIXES)):
        yield "weights", model.weights, "file"
    if model.repo is not None and model.repo.startswith(("/", ".", "~")):  # else owner/name
        yield "repo", model.repo, "folder"
    tokenizer = model.text.tokenizer if model.text is not None else None
    if tokenizer is not None and (tokenizer.startswith(("/", ".", "~")) or tokenizer.endswith(".json")):
        yield "text.tokenizer", tokenizer, "file or folder"


def _is_there(path: Path, kind: str) -> bool:
    if kind == "file":
        return path.is_file()
    return path.is_dir() if kind == "folder" else path.exists()
