"""A model on a Triton server (docs/triton.md): the configuration says how its input is made, the server all else."""

from __future__ import annotations

from typing import Any

from alaas.config import ModelConfig, TransformConfig
from alaas.errors import ModelError
from alaas_workers.models.scores import AS_IT_IS

USUAL = TransformConfig(resize=256, crop=224)
"""What most image models expect, where the configuration does not say: a server tells shapes and no statistics."""


def default_settings(name: str, settings: ModelConfig) -> Any:
    """Raises ModelError for a modality whose input cannot be guessed. A detector gets an image as it is."""
    if settings.scores_of == "boxes":
        return AS_IT_IS
    if settings.modality == "vision":
        return USUAL
    raise ModelError(
        f"model {name!r}: a Triton server does not tell how its input is made; say so in its section"
        f" {settings.modality!r}",
        field=f"models.{name}.{settings.modality}",
    )
