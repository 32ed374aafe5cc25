"""The null model, for trials of the fleet itself: no weights, no torch; its backend makes features from the bytes."""

from __future__ import annotations

from hashlib import sha256

from alaas.config import AudioConfig, ModelConfig, TextConfig, TransformConfig
from alaas.jobs import Feature, ModelCard
from alaas_workers.models.scores import not_given
from alaas_workers.transforms import transform_class
from alaas_workers.transforms.tokens import BYTES

CLASSES = 10
EMBEDDING_SIZE = 16
VERSION = 1


def default_settings(_name: str, settings: ModelConfig) -> TransformConfig | AudioConfig | TextConfig:
    """32 x 32, so that what travels is at most 3 KB however large the image; a text's bytes; a sound as it comes."""
    if settings.modality == "text":
        return TextConfig(tokenizer=BYTES)
    return AudioConfig() if settings.modality == "audio" else TransformConfig(resize=32, crop=32)


def fingerprint(name: str, transform_id: str) -> str:
    return sha256(f"null {VERSION} {name} {transform_id}".encode()).hexdigest()


def card(name: str, settings: ModelConfig) -> ModelCard:
    transform = transform_class(settings.modality)(settings.input_settings or default_settings(name, settings))
    lacking = not_given(settings.scores_of or "classes")
    return ModelCard(
        name=name,
        modality=settings.modality,
        fingerprint=fingerprint(name, transform.id),
        transform=transform.id,
        classes=CLASSES,
        embedding_size=EMBEDDING_SIZE,
        passes=settings.passes,
        boxes=settings.max_boxes if settings.scores_of == "boxes" else None,
        outputs=[feature for feature in Feature if feature not in lacking],
        lacking=lacking,
        input_size=list(transform.input_size) if transform.input_size else None,
        device="cpu",
    )
