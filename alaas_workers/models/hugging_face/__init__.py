"""HuggingFace models: a local folder, or a repository of the hub pinned by its commit; one module for each modality.

Importing this and asking for `default_settings` loads neither torch nor transformers: preprocess workers need no more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alaas.config import ModelConfig

if TYPE_CHECKING:
    from alaas_workers.models.built import BuildContext, Built

MODALITIES = {
    "text": "alaas_workers.models.hugging_face.text",
    "audio": "alaas_workers.models.hugging_face.audio",
    "vision": "alaas_workers.models.hugging_face.vision",
}
"""Such a module has `default_settings(name, settings)` and `build(context) -> Built`, as a source of models has."""


def default_settings(name: str, settings: ModelConfig) -> Any:
    """What the model's own folder says of its input, over what the configuration says. Raises ModelError."""
    return import_module(MODALITIES[settings.modality]).default_settings(name, settings)


def build(context: BuildContext) -> Built:
    """A module that gives (logits, embedding) of a batch. Raises ModelError naming the setting to mend."""
    built: Built = import_module(MODALITIES[context.settings.modality]).build(context)
    return built
