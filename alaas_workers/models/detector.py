"""A detector as a model of whole images: the scores of its boxes, and its backbone's maps averaged as the embedding.

For modules that keep torchvision's convention: a list of images of any size in, with channels first and values from 0
to 1, which they resize and normalise by themselves; a list of {"scores": (n,), ...} out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from alaas_workers.models.built import BuildContext
from alaas_workers.models.scores import AS_IT_IS


class Detector(nn.Module):
    """(N, 3, H, W) to the scores (N, boxes) of each image's highest boxes, falling, 0 where there is none; and (N, d).

    Images go through one by one: a detector puts the boxes of all images into one matrix, whose size would decide how
    a box's score is rounded.
    """

    def __init__(self, network: nn.Module, boxes: int) -> None:
        super().__init__()
        self.network = network
        self._boxes = boxes
        self._maps: Any = None
        backbone = getattr(network, "backbone", None)
        if isinstance(backbone, nn.Module):
            backbone.register_forward_hook(self._keep_maps)

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        scores, embeddings = zip(*[self._of(image) for image in batch], strict=True)
        return torch.stack(scores), None if embeddings[0] is None else torch.stack(embeddings)

    def _of(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        (found,) = self.network([image])
        highest = found["scores"].float().sort(descending=True).values[: self._boxes]
        maps, self._maps = self._maps, None
        return nn.functional.pad(highest, (0, self._boxes - len(highest))), _pooled(maps)

    def _keep_maps(self, _backbone: nn.Module, _args: Any, output: Any) -> None:
        self._maps = output


def _pooled(maps: Any) -> torch.Tensor | None:
    """The mean of each channel over the image, of all maps one after the other. None: these are no maps."""
    levels = list(maps.values()) if isinstance(maps, Mapping) else [maps]
    if not levels or not all(isinstance(level, torch.Tensor) and level.ndim == 4 for level in levels):
        return None
    return torch.cat([level.float().mean((2, 3))[0] for level in levels])


def class_count(network: nn.Module) -> int | None:
    """Classes that the detector tells apart, the background among them where it has one; None: not known."""
    for part in ("head.classification_head", "roi_heads.box_predictor"):
        try:
            found = network.get_submodule(part)
        except AttributeError:
            continue
        count = getattr(found, "num_classes", None) or getattr(found, "num_columns", None)
        count = count or getattr(getattr(found, "cls_score", None), "out_features", None)
        if isinstance(count, int):
            return count
    return None


def check_detector(network: nn.Module, transform: Any, context: BuildContext) -> None:
    """Raises ModelError for settings that make no sense for a detector."""
    if context.settings.head is not None:
        raise context.error("head", "a detector's embedding is made of its backbone's maps; leave head out")
    if context.settings.compile:
        raise context.error("compile", "a detector finds another number of boxes in each image; leave compile out")
    own = getattr(getattr(network, "transform", None), "image_mean", None)
    if own is not None and (transform.mean, transform.std) != (AS_IT_IS.mean, AS_IT_IS.std):
        raise context.error(
            "transform", "this detector normalises by itself: give mean: [0, 0, 0] and std: [1, 1, 1], or no transform"
        )
