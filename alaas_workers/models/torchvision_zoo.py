"""Models that torchvision builds by name, with its weights by name, with weights from a file, or with none."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

from alaas.config import ModelConfig, TransformConfig
from alaas.errors import ModelError
from alaas_workers.models.built import (
    IMAGENET,
    BuildContext,
    Built,
    architecture_of,
    as_path,
    same_everywhere,
    use_hub_folder,
)
from alaas_workers.models.state_dict import load_into, read_state_dict

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
    if settings.weights is None:
        return Built(_make(context, None), architecture)
    if names_a_file(settings.weights):
        state = read_state_dict(as_path(settings.weights), context, "weights")
        module = _make(context, None)
        load_into(module, state, context, "weights")
        return Built(module, architecture)
    if _plain(settings.weights) not in members:
        raise context.error("weights", _unknown_weights(entry, settings.weights))
    return Built(_make(context, members[_plain(settings.weights)]), architecture)


def _make(context: BuildContext, weights: Any) -> Any:
    from torchvision.models import get_model

    use_hub_folder(context.config)
    try:
        with same_everywhere():
            # The weights go through the builder: for some networks it sets more than the state dict holds.
            return get_model(context.entry, weights=weights, progress=False, **context.settings.kwargs)
    except (URLError, ConnectionError, TimeoutError):
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
    """Name to weights, or None for a name that builds no classifier."""
    import torchvision.models as zoo

    # The submodules of torchvision.models (detection, segmentation, ...) do not classify.
    if builder not in zoo.list_models(module=zoo):
        return None
    return zoo.get_model_weights(builder).__members__


def _settings_of(weights: Any) -> TransformConfig:
    preset = weights.transforms()
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
    import torchvision.models as zoo

    near = get_close_matches(builder.lower(), zoo.list_models(module=zoo), n=1, cutoff=0.0)[0]
    return f"torchvision builds no classifier {builder!r:.80}; nearest known: {near!r}"


def _unknown_weights(builder: str, weights: str) -> str:
    known = ", ".join(_members(builder))
    return f"{builder} has no weights {weights!r:.80}; known: {known}; a file is named with its folder or suffix"
