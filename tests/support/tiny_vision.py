"""Small image classifiers as HuggingFace folders, made in milliseconds, with their image processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CLASSES = 5
_VIT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
SIZES: dict[str, dict[str, Any]] = {
    "ViT": {**_VIT, "image_size": 32, "patch_size": 8},
    "DeiT": {**_VIT, "image_size": 32, "patch_size": 8},
    "Beit": {**_VIT, "image_size": 32, "patch_size": 8},
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "ResNet": {"hidden_sizes": [16, 32], "depths": [1, 1], "embedding_size": 16, "layer_type": "basic"},
    "Swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "window_size": 4},
}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "DeiT": ("DeiTImageProcessor", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}),
    "Beit": ("BeitImageProcessor", {"size": {"height": 32, "width": 32}}),
    "ConvNext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 48}}),
    "ResNet": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "Swin": ("CLIPImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
}
"""Of each, one that cuts another way: stretched, stretched and cropped, shorter side and cropped."""


def image_model(kind: str, **sizes: Any) -> Any:
    """`kind`: "ViT" and the like; weights from a fixed seed."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    settings = SIZES[kind] | {"num_labels": CLASSES} | sizes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**settings)
        return getattr(transformers, f"{kind}ForImageClassification")(config).eval()


def image_processor(kind: str) -> Any:
    import transformers

    name, settings = PROCESSORS[kind]
    return getattr(transformers, name)(**settings)


def write_image_model(folder: Path, kind: str = "ViT", **sizes: Any) -> Path:
    image_model(kind, **sizes).save_pretrained(folder)
    image_processor(kind).save_pretrained(folder)
    return folder
