"""Small detectors of torchvision with few anchors, untrained: their boxes mean nothing, and they find some at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from alaas.config import Config
from tests.support.tiny_models import config_of, saved

BUILDER = "tests.support.detectors:tiny_detector"
_SIZES: dict[str, Any] = {"min_size": 48, "max_size": 96}


class Backbone(nn.Sequential):
    """One map of 8 channels, an eighth of the image's size."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1))


def tiny_detector(classes: int = 3, **kwargs: Any) -> nn.Module:
    """Faster R-CNN; the first of `classes` is the background."""
    anchors = AnchorGenerator(sizes=((16, 32),), aspect_ratios=((1.0,),))
    pool = MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=2)
    detector: nn.Module = FasterRCNN(
        Backbone(), classes, rpn_anchor_generator=anchors, box_roi_pool=pool, **_SIZES | kwargs
    )
    return detector


def tiny_retina(classes: int = 3) -> nn.Module:
    """RetinaNet. Untrained, its scores are near 0.01, so that its threshold is far below."""
    anchors = AnchorGenerator(sizes=((16, 32),), aspect_ratios=((1.0,),))
    detector: nn.Module = RetinaNet(Backbone(), classes, anchor_generator=anchors, score_thresh=0.001, **_SIZES)
    return detector


def seeded_detector(seed: int = 0, **kwargs: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tiny_detector(**kwargs).eval()


def detector_config(folder: Path, **settings: Any) -> Config:
    """`seeded_detector` from a state dict in `folder`."""
    path = folder / "detector.pt"
    if not path.exists():
        saved(seeded_detector(), path)
    defaults: dict[str, Any] = {"source": "file", "path": path, "builder": BUILDER, "scores_of": "boxes"}
    return config_of(**defaults | settings)
