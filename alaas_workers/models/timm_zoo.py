"""Models of timm: by name with weights from a file or none, or a folder or pinned repository as timm saves them.

Importing timm takes many seconds, so that a folder's settings are read without it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from alaas.config import ModelConfig, TransformConfig
from alaas.errors import ModelError
from alaas_workers.models.built import BuildContext, Built, architecture_of, as_path, same_everywhere
from alaas_workers.models.hugging_face.hub import folder_of, read_json, refused
from alaas_workers.models.state_dict import load_into, read_state_dict
from alaas_workers.models.timm_data import UnlikeOurs, as_transform

logger = logging.getLogger(__name__)

_OF_WEIGHTS = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"})
_SHAPES = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")


def default_settings(name: str, settings: ModelConfig) -> TransformConfig:
    """As timm's own evaluation transform. Raises ModelError for one that ours cannot do."""
    if settings.modality != "vision":
        raise refused(name, "modality", "timm's models take images")
    data = dict(_of_folder(name, settings)[1] if settings.repo else _of_zoo(name, settings))
    if (side := settings.kwargs.get("img_size")) is not None:
        data["input_size"] = [3, *side] if isinstance(side, list) else [3, side, side]
    try:
        return as_transform(data)
    except UnlikeOurs as error:
        raise refused(name, "transform", f"timm's transform cannot be done here: {error}; give transform") from None


def build(context: BuildContext) -> Built:
    """Raises ModelError for an unknown name, and for weights that are missing, corrupt or do not fit."""
    settings = context.settings
    _check_settings(context)
    if settings.repo:
        return _from_folder(context)
    _check_name(context.name, context.entry)
    module = _make(context, context.entry, settings.kwargs)
    if settings.weights is not None:
        load_into(module, read_state_dict(as_path(settings.weights), context, "weights"), context, "weights")
    return Built(module, architecture_of("timm", context.entry, settings.kwargs), head=_head_of(module))


def _from_folder(context: BuildContext) -> Built:
    settings = context.settings
    folder = folder_of(context.name, settings, weights=True)
    architecture, _, own = _of_folder(context.name, settings)
    _check_name(context.name, architecture, "repo")
    arguments = own | settings.kwargs
    module = _make(context, architecture, arguments)
    load_into(module, read_state_dict(_weights_in(folder, context), context, "repo"), context, "repo")
    return Built(module, architecture_of("timm", architecture, arguments), head=_head_of(module))


def _weights_in(folder: Path, context: BuildContext) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) > 1 and not (folder / "model.safetensors").is_file():
        raise context.error("repo", "it holds several files of weights, and none is model.safetensors")
    return folder / "model.safetensors" if len(files) > 1 else files[0]


def _of_folder(name: str, settings: ModelConfig) -> tuple[str, Mapping[str, Any], dict[str, Any]]:
    """Architecture, data settings and arguments of the model, from the folder's config.json."""
    config = read_json(name, folder_of(name, settings) / "config.json")
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise refused(name, "repo", "its config.json names no architecture of timm's")
    data = config.get("pretrained_cfg")
    own = {key: config[key] for key in ("num_classes", "global_pool") if config.get(key) is not None}
    arguments = config.get("model_args")
    own |= arguments if isinstance(arguments, dict) else {}
    if strange := sorted(_OF_WEIGHTS & own.keys()):
        raise refused(name, "repo", f"its config.json has {strange[0]} among the model's arguments")
    return architecture, data if isinstance(data, dict) else config, own


def _of_zoo(name: str, settings: ModelConfig) -> dict[str, Any]:
    entry = settings.name or name
    _check_name(name, entry)
    found = _timm(name).models.get_pretrained_cfg(entry)
    return {key: value for key in _SHAPES if (value := getattr(found, key, None)) is not None}


def _check_settings(context: BuildContext) -> None:
    settings = context.settings
    for key in sorted(_OF_WEIGHTS & settings.kwargs.keys()):
        raise context.error("kwargs", f"{key} is no argument here; weights come from weights or repo")
    if settings.repo and (settings.weights or settings.name):
        key = "weights" if settings.weights else "name"
        raise context.error(key, "a repository tells this by itself; leave it out, or leave repo out")


def _check_name(name: str, entry: str, key: str = "name") -> None:
    """Raises ModelError for what timm does not know; names with a prefix would be fetched from somewhere."""
    timm = _timm(name)
    if ":" in entry or "/" in entry or not timm.is_model(entry):
        near = get_close_matches(entry, timm.list_models(), n=1, cutoff=0.0)
        raise refused(name, key, f"timm builds no {entry!r:.80}; nearest known: {near[0]!r}")
    try:
        timm.models.get_pretrained_cfg(entry)
    except RuntimeError:
        raise refused(name, key, f"timm knows no weights {entry!r:.80}; leave out what follows the dot") from None


def _make(context: BuildContext, architecture: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        with same_everywhere():
            module: nn.Module = _timm(context.name).create_model(architecture, pretrained=False, **arguments)
    except Exception as error:  # whatever an architecture stumbles over in arguments that are not its own
        logger.warning("model %r: timm could not build it", context.name, exc_info=True)
        raise context.error(
            "kwargs", f"{architecture} cannot be built from these arguments ({type(error).__name__}: {error!s:.200})"
        ) from None
    return module


def _head_of(module: nn.Module) -> str | None:
    """The classifier as timm names it; of a distilled network's two the first."""
    named = getattr(module, "pretrained_cfg", {}).get("classifier")
    first = named[0] if isinstance(named, list | tuple) and named else named
    known = {name for name, _ in module.named_modules()}
    return first if isinstance(first, str) and first in known else None


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ModelError(
            f"model {name!r}: a model of timm's needs timm: pip install 'alaas[vision]'", field=f"models.{name}.source"
        ) from None
    return timm
