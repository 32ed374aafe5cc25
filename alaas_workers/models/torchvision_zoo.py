"""Models that torchvision builds by name, with its weights by name, with weights from a file, or with none: those that
classify, and those that detect.
"""

from __future__ import annotations

import logging
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

from alaas.config import ModelConfig, TransformConfig
from alaas.errors import ModelError
from alaas.jobs import ScoresOf
from alaas_workers.models.built import (
    IMAGENET,
    BuildContext,
    Built,
    architecture_of,
    as_path,
    same_everywhere,
    use_hub_folder,
)
from alaas_workers.models.scores import AS_IT_IS
from alaas_workers.models.state_dict import load_into, read_state_dict

logger = logging.getLogger(__name__)

FILE_SUFFIXES = frozenset({".pth", ".pt", ".th", ".bin", ".ckpt", ".safetensors"})


def default_settings(name: str, settings: ModelConfig) -> TransformConfig:
    """From the meta data of the named weights; of other weights from those that the builder's first weights have."""
    entry = settings.name or name
    weights = None if settings.weights is None or names_a_file(settings.weights) else settings.weights
    members = _members(entry)
    if members is None:
        raise ModelError(f"model {name!r}: {_unknown(entry)}", field=f"models.{name}.name")
    if weights is None:
        return transform_of(entry)
    if _plain(weights) not in members:
        raise ModelError(f"model {name!r}: {_unknown_weights(entry, weights)}", field=f"models.{name}.weights")
    return _settings_of(members[_plain(weights)])


def transform_of(builder: str) -> TransformConfig:
    """Of the first weights that torchvision has for `builder`; ImageNet's for what torchvision does not build."""
    members = _members(builder)
    return _settings_of(next(iter(members.values()))) if members else IMAGENET


def names_a_file(weights: str) -> bool:
    return "/" in weights or Path(weights).suffix in FILE_SUFFIXES


def build(context: BuildContext) -> Built:
    """Raises ModelError for an unknown builder or weights, and for weights that cannot be fetched or do not fit."""
    settings, entry = context.settings, context.entry
    members = _members(entry)
    if members is None:
        raise context.error("name", _unknown(entry))
    architecture = architecture_of("torchvision", entry, settings.kwargs)
    scores_of: ScoresOf = "boxes" if _detects(entry) else "classes"
    if settings.weights is None:
        return Built(_make(context, None), architecture, scores_of=scores_of)
    if names_a_file(settings.weights):
        state = read_state_dict(as_path(settings.weights), context, "weights")
        module = _make(context, None)
        load_into(module, state, context, "weights")
        return Built(module, architecture, scores_of=scores_of)
    if _plain(settings.weights) not in members:
        raise context.error("weights", _unknown_weights(entry, settings.weights))
    return Built(_make(context, members[_plain(settings.weights)]), architecture, scores_of=scores_of)


def _make(context: BuildContext, weights: Any) -> Any:
    from torchvision.models import get_model

    folder = use_hub_folder(context.config)
    for key in ("weights", "progress"):
        if key in context.settings.kwargs:
            raise context.error("kwargs", f"it holds {key!r}, which is not for the builder; see the setting weights")
    # A detector's builder would fetch ImageNet's weights for its backbone where it is given none for the whole.
    backbone = {"weights_backbone": None} if weights is None and _detects(context.entry) else {}
    try:
        with same_everywhere():
            # The weights go through the builder: for some networks it sets more than the state dict holds.
            return get_model(context.entry, weights=weights, progress=False, **backbone | context.settings.kwargs)
    except (URLError, ConnectionError, TimeoutError):
        logger.warning("model %r: its weights belong into %s", context.name, folder / "checkpoints")
        raise context.error(
            "weights",
            "its weights could not be fetched; put the file into the folder 'checkpoints' of torch_hub.dir,"
            " or name a file",
        ) from None
    except (TypeError, ValueError) as error:
        raise context.error("kwargs", f"{context.entry} does not take these arguments: {error}") from None
    except (RuntimeError, OSError, EOFError, UnpicklingError):
        raise context.error(
            "weights", "its weights cannot be read; if the file in the torch.hub folder is damaged, remove it"
        ) from None


def _members(builder: str) -> Any:
    """Name to weights, or None for a name that builds neither a classifier nor a detector."""
    import torchvision.models as zoo

    return zoo.get_model_weights(builder).__members__ if builder in _builders() else None


def _builders() -> list[str]:
    """The other submodules of torchvision.models (segmentation, video, ...) give nothing that a strategy takes."""
    import torchvision.models as zoo

    return [*zoo.list_models(module=zoo), *zoo.list_models(module=zoo.detection)]


def _detects(builder: str) -> bool:
    import torchvision.models as zoo

    return builder in zoo.list_models(module=zoo.detection)


def _settings_of(weights: Any) -> TransformConfig:
    preset = weights.transforms()
    if not hasattr(preset, "crop_size"):  # a detector's, which leaves all but the range of values to the network
        return AS_IT_IS
    return TransformConfig(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def _plain(weights: str) -> str:
    """'ResNet18_Weights.IMAGENET1K_V1' is read as 'IMAGENET1K_V1'."""
    return weights.rpartition(".")[2]


def _unknown(builder: str) -> str:
    near = get_close_matches(builder.lower(), _builders(), n=1, cutoff=0.0)[0]
    return f"torchvision builds no classifier or detector {builder!r:.80}; nearest known: {near!r}"


def _unknown_weights(builder: str, weights: str) -> str:
    known = ", ".join(_members(builder))
    return f"{builder} has no weights {weights!r:.80}; known: {known}; a file is named with its folder or suffix"
