"""Image classifiers of HuggingFace; the embedding is the input of their classifier, their pooled last hidden state."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alaas.config import ModelConfig, TransformConfig
from alaas.config.sources import SourcesConfig
from alaas_workers.models.hugging_face.hub import folder_of, read_json, refused
from alaas_workers.models.hugging_face.image_settings import as_transform
from alaas_workers.models.timm_data import UnlikeOurs
from alaas_workers.transforms import VisionTransform

if TYPE_CHECKING:
    from alaas_workers.models.built import BuildContext, Built

logger = logging.getLogger(__name__)

FILE_NAME = "preprocessor_config.json"
_TRIED = (217, 333)  # height and width of the image that both ways are tried with: odd, and no square
_NEAR = 3.0 / 255
_FAR_SHARE = 0.01
"""Of the pixels may differ by more than three levels: what Pillow and torch round otherwise is within two."""


def default_settings(name: str, settings: ModelConfig) -> TransformConfig:
    """What preprocessor_config.json says. Raises ModelError for what our transform does not do."""
    said = read_json(name, folder_of(name, settings) / FILE_NAME)
    if not said:
        raise refused(
            name,
            "transform",
            f"the folder holds no {FILE_NAME}; write it with AutoImageProcessor...save_pretrained, or give transform",
        )
    try:
        return as_transform(said)
    except UnlikeOurs as error:
        raise refused(name, "transform", f"its {FILE_NAME} cannot be followed: {error}; give transform") from None


def build(context: BuildContext) -> Built:
    """Raises ModelError for what is no classifier of images, for weights that do not fit, and for other pixels."""
    from alaas_workers.models.built import Built
    from alaas_workers.models.hugging_face.logits import Logits
    from alaas_workers.models.hugging_face.pretrained import architecture, classifier_scores, config_of, load_pretrained

    folder = folder_of(context.name, context.settings, weights=True)
    config = config_of(context, folder)
    scores_of = classifier_scores(context, config, "ForImageClassification", "ForImageClassificationWithTeacher")
    module = load_pretrained(context, folder, "AutoModelForImageClassification")
    if context.settings.transform is None:
        _check_pixels(context, folder)
    return Built(Logits(module), architecture("vision", config), scores_of=scores_of)


def _check_pixels(context: BuildContext, folder: Path) -> None:
    """A processor may do what its file does not say, so both ways are tried with one image."""
    transform = VisionTransform(default_settings(context.name, context.settings))
    image = _image()
    try:
        theirs = _by_transformers(folder, image)
    except Exception:  # a processor that is unknown, or that fails on what a file says
        logger.warning("model %r: transformers' own image processor failed", context.name, exc_info=True)
        raise context.error(
            "transform", f"transformers cannot follow its {FILE_NAME}; the worker's log says why. Give transform"
        ) from None
    ours = np.asarray(transform.to_input([transform.preprocess(image, SourcesConfig())])[0])
    std = np.array(transform.settings.std).reshape(3, 1, 1)
    if theirs.shape != ours.shape or (np.abs(theirs - ours) * std > _NEAR).mean() > _FAR_SHARE:
        raise context.error(
            "transform", f"its image processor does more than its {FILE_NAME} says, and gives other pixels; give"
            " transform",
        )  # fmt: skip


def _image() -> bytes:
    """A PNG whose every row, column and channel differs, smooth but for some noise."""
    from PIL import Image

    height, width = _TRIED
    down, right = np.mgrid[0:height, 0:width].astype(np.float64)
    layers = [128 + 100 * np.sin(down / (9 + 4 * band)) * np.cos(right / (13 - 3 * band)) for band in range(3)]
    noise = np.random.default_rng(0).integers(-20, 21, (height, width, 3))
    pixels = (np.stack(layers, axis=2) + noise).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _by_transformers(folder: Path, image: bytes) -> np.ndarray[Any, Any]:
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    made = processor(Image.open(io.BytesIO(image)).convert("RGB"), return_tensors="np")
    return np.asarray(made["pixel_values"][0])
