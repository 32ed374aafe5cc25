"""How a sample's bytes become a model's input, by modality; preprocess and inference workers share it.

Importing this loads no torch: a transform's identity costs nothing to know.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from alaas.errors import ModelError
from alaas_workers.transforms.decode import use_one_thread
from alaas_workers.transforms.vision import VisionTransform

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

__all__ = ["TRANSFORMS", "Transform", "VisionTransform", "transform_class", "use_one_thread"]

TRANSFORMS = {"vision": "alaas_workers.transforms.vision:VisionTransform"}
"""Modality to "module:Class", imported at first use."""


class Transform(Protocol):
    """What stages and backends use of a transform, whatever its modality."""

    @property
    def id(self) -> str:
        """Short digest of every parameter: two transforms of one id give the same input, bit for bit."""

    def preprocess(self, data: bytes, max_pixels: int) -> np.ndarray[Any, Any]:
        """Bytes to the array that travels. Raises SampleError."""

    def to_input(
        self, arrays: Sequence[np.ndarray[Any, Any]], device: torch.device | str = "cpu", *, channels_last: bool = False
    ) -> torch.Tensor:
        """Arrays of `preprocess` to one float32 batch on `device`."""


def transform_class(modality: str) -> type[VisionTransform]:
    """The class that serves `modality`. Raises ModelError for one that nothing serves."""
    if modality not in TRANSFORMS:
        raise ModelError(f"no transform for the modality {modality!r:.80}; known: {', '.join(TRANSFORMS)}")
    module, _, name = TRANSFORMS[modality].partition(":")
    return cast(type[VisionTransform], getattr(import_module(module), name))
