"""Models from a file: a program (TorchScript, torch.export), or weights (safetensors, state dict) with their builder.

Told apart by what is in the file, not by its name. A program is code of the operator's choice; weights never are.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import ModelConfig, TransformConfig
from alaas_workers.models import torchvision_zoo
from alaas_workers.models.archives import check_exported
from alaas_workers.models.built import IMAGENET, BuildContext, Built, architecture_of, as_path, same_everywhere
from alaas_workers.models.callables import find_callable
from alaas_workers.models.scores import AS_IT_IS
from alaas_workers.models.state_dict import check_file, load_into, read_state_dict

logger = logging.getLogger(__name__)


def default_settings(_name: str, settings: ModelConfig) -> TransformConfig:
    """torchvision's for one of its builders, else ImageNet's; a detector's image as it is."""
    if settings.scores_of == "boxes":
        return AS_IT_IS
    module, _, builder = (settings.builder or "").partition(":")
    return torchvision_zoo.transform_of(builder) if module == "torchvision.models" else IMAGENET


def build(context: BuildContext) -> Built:
    """Raises ModelError for a file that is missing, corrupt, a pickle with code, or that lacks its builder."""
    if context.settings.path is None:
        raise context.error("path", "names no file")
    path = as_path(context.settings.path)
    check_file(path, context, "path")
    kind = _kind(path)
    if kind == "weights":
        return _from_weights(path, context)
    if context.settings.builder is not None:
        raise context.error("builder", f"{path.name} holds its own program; leave builder out")
    module = _load_script(path, context) if kind == "script" else _load_exported(path, context)
    return Built(module, architecture_of(kind, "", {}, _digest(path)), is_program=True)


def _kind(path: Path) -> str:
    """ "script", "export" or "weights"; a file that is nothing of the three is found out when it is read."""
    if not zipfile.is_zipfile(path):
        return "weights"
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in members:
        return "script"
    return "export" if "archive_format" in members or "models/model.json" in members else "weights"


def _from_weights(path: Path, context: BuildContext) -> Built:
    settings = context.settings
    state = read_state_dict(path, context, "path")
    if settings.builder is None:
        raise context.error(
            "builder", f"{path.name} holds weights only; name what builds the module ('torchvision.models:resnet18')"
        )
    builder, digest = find_callable(settings.builder, context)
    module = _call(builder, context)
    load_into(module, state, context, "path")
    name = settings.builder.rpartition("/")[2]
    return Built(module, architecture_of("file", name, settings.kwargs, digest))


def _call(builder: Any, context: BuildContext) -> nn.Module:
    try:
        with same_everywhere():
            module = builder(**context.settings.kwargs)
    except Exception as error:  # the operator's own code
        logger.warning("model %r: its builder failed", context.name, exc_info=True)
        raise context.error("builder", f"it failed with {type(error).__name__}; the worker's log has it") from None
    if not isinstance(module, nn.Module):
        raise context.error("builder", f"it gives {type(module).__name__}, not a torch module")
    return module


def _load_script(path: Path, context: BuildContext) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated; such files are still around
            return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-any-return, no-untyped-call]
    except (RuntimeError, ValueError, OSError):
        raise context.error("path", f"{path.name} is a TorchScript file that is corrupt or of another torch") from None


def _load_exported(path: Path, context: BuildContext) -> nn.Module:
    check_exported(path, context)
    try:
        return torch.export.load(path).module()
    except Exception:  # the reader of a damaged archive stumbles in any way
        logger.warning("model %r: torch.export could not read its file", context.name, exc_info=True)
        raise context.error("path", f"{path.name} is a torch.export file that is corrupt or of another torch") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
