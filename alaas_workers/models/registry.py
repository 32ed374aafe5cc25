"""Source of a model ("torchvision", "file", ...) to the module that serves it, imported at first use.

Such a module has `default_settings(name, settings)`, which gives the settings of its modality's transform, and
`build(context) -> Built` unless it brings its own backend.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alaas.config import AudioConfig, Config, ModelConfig, TextConfig
from alaas.errors import ModelError
from alaas.jobs import ModelCard
from alaas_workers.transforms import Transform, transform_class

if TYPE_CHECKING:
    import torch

    from alaas_workers.models.loaded import LoadedModel

SOURCES = {
    "torchvision": "alaas_workers.models.torchvision_zoo",
    "torch_hub": "alaas_workers.models.torch_hub",
    "file": "alaas_workers.models.model_file",
    "huggingface": "alaas_workers.models.hugging_face",
    "timm": "alaas_workers.models.timm_zoo",
    "onnx": "alaas_workers.models.onnx_file",
    "triton": "alaas_workers.models.triton_model",
    "null": "alaas_workers.models.null_model",
}

_KNOWS_IMAGES_ONLY = frozenset({"torchvision", "torch_hub", "file"})
"""Sources whose `default_settings` tells an image's transform. A sound's or a text's is the configuration's to tell."""


def settings_of(name: str, config: Config) -> ModelConfig:
    """Raises ModelError for a model that the configuration does not name."""
    if name not in config.models:
        raise ModelError(f"no model {name!r:.80}; configured: {', '.join(config.models)}", field="model")
    return config.models[name]


def source_module(source: str) -> Any:
    return import_module(SOURCES[source])


def transform_for(name: str, settings: ModelConfig) -> Transform:
    """The configuration's, else that of the weights, else a usual one. Loads no weights. Raises ModelError."""
    make = transform_class(settings.modality)
    try:
        return make(settings.input_settings or _default_settings(name, settings))
    except ModelError as error:
        if error.field is not None:
            raise
        field = f"models.{name}.{settings.input_section}"
        raise ModelError(f"model {name!r}: {error.detail}", field=field) from None


def _default_settings(name: str, settings: ModelConfig) -> Any:
    if settings.source in _KNOWS_IMAGES_ONLY and settings.modality != "vision":
        return TextConfig() if settings.modality == "text" else AudioConfig()
    return source_module(settings.source).default_settings(name, settings)


def load_model(name: str, config: Config, device: torch.device | str = "cpu") -> LoadedModel:
    """Build the model, read its weights, run it once on black images. Raises ModelError naming the setting to mend."""
    from alaas_workers.models.loading import load

    return load(name, config, device)


def configured_card(name: str, config: Config) -> ModelCard:
    """What is known of a model before a worker has loaded it, without torch: of a null model all."""
    settings = settings_of(name, config)
    if settings.source == "null":
        card: ModelCard = source_module("null").card(name, settings)
        return card
    if settings.input_settings is None:
        return ModelCard(name=name, modality=settings.modality)
    transform = transform_for(name, settings)
    size = list(transform.input_size) if transform.input_size else None
    return ModelCard(name=name, modality=settings.modality, transform=transform.id, input_size=size)
