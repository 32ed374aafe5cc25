"""Registers torchvision's JPEG decoder without importing torchvision, which brings torch._dynamo along: 5 s of a
preprocess worker's start, and 150 MB."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)


def register() -> None:
    """Idempotent."""
    if hasattr(torch.ops.image, "decode_jpeg"):
        return
    found = importlib.util.find_spec("torchvision")
    folder = Path(found.origin).parent if found is not None and found.origin is not None else None
    for library in folder.glob("image*.so") if folder is not None else []:
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        except OSError as error:  # built against another torch, or a library that it needs is missing
            logger.warning("%s cannot be loaded by itself: %s", library.name, error)
    if not hasattr(torch.ops.image, "decode_jpeg"):
        import torchvision.io  # noqa: F401 - registers it too, or says what is wrong
