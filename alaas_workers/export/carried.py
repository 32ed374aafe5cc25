"""A model as its settings and copies of its files, for code that torch.export cannot capture, such as a detector's.

What serves it needs `alaas[server]` beside torch, and loads it as an inference worker does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from alaas.config import Config, ModelConfig, parse_config
from alaas_workers.export.program import Program, refused
from alaas_workers.export.samples import named, row_shape
from alaas_workers.models import load_model, settings_of
from alaas_workers.models.built import as_path, use_hub_folder
from alaas_workers.models.hugging_face.hub import folder_of
from alaas_workers.models.loaded import LoadedModel
from alaas_workers.models.loading import example_batch
from alaas_workers.models.torch_hub import local_folder
from alaas_workers.models.torchvision_zoo import names_a_file
from alaas_workers.transforms.tokens import BYTES

CARRIED = "model.json"
_FILES, _HUB = "files", "hub"
_NOT_OF_THE_MODEL = ("engine", "instance_group", "device")  # whoever loads it says where it runs


def write_carried(model: LoadedModel, config: Config, opened: Collection[Path], why: str, folder: Path) -> Program:
    """Into `folder`. `opened`: the files that were opened when `model` was loaded. `why`: it is no program.

    Raises ModelError for a model that comes out as another, and OSError for files that cannot be copied.
    """
    name = model.card.name
    places = _places(name, settings_of(name, config))
    files = {key: f"{_FILES}/{key}/{Path(os.path.abspath(path)).name}" for key, path in places.items()}
    for key, path in places.items():
        _copy(path, folder / files[key])
    _copy_hub(settings_of(name, config), config, opened, folder / _HUB)
    told = {"name": name, "settings": _settings(model, config, files), "files": files}
    (folder / CARRIED).write_text(json.dumps(told | {"fingerprint": model.card.fingerprint}, indent=1), "utf-8")
    load_carried(folder / CARRIED)
    shapes = {key: row_shape(model, tensor) for key, tensor in named(example_batch(model, 1))}
    return Program(CARRIED, model.batch_size, model.row_multiple, shapes, runs_own_code=why)


def load_carried(path: Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Of the file that `write_carried` wrote. Raises ModelError, also where it is another model than it was there."""
    told = json.loads(path.read_text("utf-8"))
    settings = _with_files(told["settings"], {key: str(path.parent / file) for key, file in told["files"].items()})
    hub = path.parent / _HUB
    section = {"torch_hub": {"dir": str(hub)}} if hub.is_dir() else {}
    config = parse_config({"models": {told["name"]: settings}} | section)
    before = torch.hub.get_dir()
    try:
        model = load_model(told["name"], config, device)
    finally:
        if section:
            torch.hub.set_dir(before)
    if model.card.fingerprint != told["fingerprint"]:
        raise refused(model, "it is another model here than where it was exported; are ALaaS and its libraries as new?")
    return model


def _places(name: str, settings: ModelConfig) -> dict[str, Path]:
    """What of the settings is a file or a folder, by the setting's key. Of kwargs nobody can tell."""
    text, weights = settings.text, settings.weights
    builder, repo = (settings.builder or "").rpartition(":")[0], settings.repo
    found = {
        "path": settings.path,
        "weights": weights if weights and (settings.source == "timm" or names_a_file(weights)) else None,
        "builder": builder if builder.endswith(".py") else None,
        "tokenizer": text.tokenizer if text is not None and text.tokenizer != BYTES else None,
    }
    if repo and settings.source in ("huggingface", "timm"):
        found["repo"] = folder_of(name, settings, weights=True)
    elif repo and settings.source == "torch_hub" and (as_path(repo) / "hubconf.py").is_file():
        found["repo"] = repo
    return {key: as_path(place) for key, place in found.items() if place is not None}


def _settings(model: LoadedModel, config: Config, files: Mapping[str, str]) -> dict[str, Any]:
    """As the configuration has them, with `files` for those of this machine."""
    settings = settings_of(model.card.name, config).model_dump(mode="json", exclude_defaults=True)
    for key in (*_NOT_OF_THE_MODEL, *(["revision"] if "repo" in files else [])):
        settings.pop(key, None)
    if model.card.modality == "vision":  # which may follow from what the repository is called
        settings["transform"] = model.transform.settings.model_dump(mode="json")
    return _with_files(settings, files)


def _with_files(settings: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    changed = dict(settings)
    for key, place in files.items():
        if key == "tokenizer":
            changed["text"] = changed["text"] | {key: place}
        elif key == "builder":
            changed[key] = f"{place}:{changed[key].rpartition(':')[2]}"
        else:
            changed[key] = place
    return changed


def _copy_hub(settings: ModelConfig, config: Config, opened: Collection[Path], target: Path) -> None:
    """torch.hub's copy of the repository, and the weights that were read from its folder."""
    hub = use_hub_folder(config).resolve()
    used = {path.resolve() for path in opened}
    for path in sorted(path for path in used if path.is_relative_to(hub / "checkpoints") and path.is_file()):
        _copy(path, target / path.relative_to(hub))
    folder = local_folder(settings.repo, hub) if settings.source == "torch_hub" and settings.repo else None
    if folder is not None and folder.is_relative_to(hub):
        _copy(folder, target / folder.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(source, target, ignore=ignored, ignore_dangling_symlinks=True)
    else:
        shutil.copyfile(source, target)
