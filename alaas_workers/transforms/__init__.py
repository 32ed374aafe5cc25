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

    from alaas.config.sources import SourcesConfig

    Batch = torch.Tensor | dict[str, torch.Tensor]
    """A model's input, N rows: one tensor, or several by the names of the model's arguments (a text's)."""

__all__ = ["TRANSFORMS", "Transform", "VisionTransform", "transform_class", "use_one_thread"]

TRANSFORMS = {
    "vision": "alaas_workers.transforms.vision:VisionTransform",
    "audio": "alaas_workers.transforms.audio:AudioTransform",
    "text": "alaas_workers.transforms.text:TextTransform",
}
"""Modality to "module:Class", imported at first use."""


class Transform(Protocol):
    """What stages and backends use of a transform, whatever its modality.

    Made with the settings of its modality (`ModelConfig.input_settings`).
    """

    def __init__(self, settings: Any) -> None: ...

    @property
    def settings(self) -> Any: ...

    @property
    def id(self) -> str:
        """Short digest of every parameter: two transforms of one id give the same input, bit for bit."""

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """Of one row of the model's input, where all have the same, else None; of texts the most tokens."""

    def preprocess(self, data: bytes, limits: SourcesConfig) -> np.ndarray[Any, Any]:
        """Bytes to the array that travels. Raises SampleError."""

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the row that an array of this shape becomes. Rows of one shape may share a batch.

        It depends on the array alone, never on its neighbours: a row that was padded otherwise would round otherwise.
        """

    def to_input(
        self, arrays: Sequence[np.ndarray[Any, Any]], device: torch.device | str = "cpu", *, channels_last: bool = False
    ) -> Batch:
        """Arrays of `preprocess`, all of one `input_shape`, to one batch on `device`."""

    def example(self) -> np.ndarray[Any, Any]:
        """An array as `preprocess` gives it, of a sample without content, for trying a model out."""


def transform_class(modality: str) -> type[Transform]:
    """The class that serves `modality`. Raises ModelError for one that nothing serves."""
    if modality not in TRANSFORMS:
        raise ModelError(f"no transform for the modality {modality!r:.80}; known: {', '.join(TRANSFORMS)}")
    module, _, name = TRANSFORMS[modality].partition(":")
    return cast("type[Transform]", getattr(import_module(module), name))
