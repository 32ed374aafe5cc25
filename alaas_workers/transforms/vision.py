"""The transform of vision models. Preprocess decodes and keeps the fewer bytes: the image at its own size, or resized
and cropped; inference resizes the rest in uint8, a batch at a time, and normalises on the device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alaas.config import TransformConfig
from alaas.config.sources import SourcesConfig
from alaas.errors import SampleCode, SampleError
from alaas_workers.transforms.decode import decode_rgb
from alaas_workers.transforms.resizing import centre_crop, resize, resized_size

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Of the pixels: count up whenever decoding, resizing or cropping would change one, so that no cached feature of the
old pixels is taken for one of the new."""

MAX_GROWTH = 16
"""An image travels at its own size only if resizing makes it at most so many times the model's input. A strip of
1 x 40,000 pixels is small, and 256 x 10,240,000 once its shorter side is 256."""

USUAL_SIDE = 224
"""Of the example image where the settings name no size."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VisionTransform:
    """Decode, resize the shorter side, crop the centre, normalise. Two of equal `id` give equal inputs, bit for bit."""

    settings: TransformConfig

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over every parameter and VERSION."""
        settings = self.settings.model_dump(mode="json")
        if self.settings.crop_from == "round":  # as before there was a choice: what is cached stays true
            del settings["crop_from"]
        text = json.dumps(["vision", VERSION, settings], sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of the model's input; None: as large as the image (no crop)."""
        if self.settings.crop:
            return self.settings.crop, self.settings.crop
        return self.settings.resize if isinstance(self.settings.resize, tuple) else None

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the input that an image of this size becomes."""
        return self.input_size or resized_size(height, width, self.settings.resize)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of the input that an array of `preprocess`, (3, h, w), becomes."""
        return self.output_size(*shape[1:])

    def example(self) -> Pixels:
        """A black image of the size that the model is given."""
        size = self.input_size or resized_size(USUAL_SIDE, USUAL_SIDE, self.settings.resize)
        return np.zeros((3, *size), np.uint8)

    def preprocess(self, data: bytes, limits: SourcesConfig) -> Pixels:
        """uint8 (3, h, w), RGB: at its own size if that is fewer bytes than the model's input, else resized and
        cropped. Raises SampleError (see `decode_rgb`); TOO_MANY_PIXELS also when the resized image had too many.
        """
        max_pixels = limits.max_pixels
        pixels = decode_rgb(data, max_pixels)
        height, width = pixels.shape[1:]
        resized = resized_size(height, width, self.settings.resize)
        if resized[0] * resized[1] > max_pixels:
            raise SampleError(
                SampleCode.TOO_MANY_PIXELS, f"{width} x {height} is more than {max_pixels} pixels when resized"
            )
        out = self.output_size(height, width)
        room = out[0] * out[1]
        if height * width < room and resized[0] * resized[1] <= MAX_GROWTH * room:
            return np.ascontiguousarray(pixels)
        import torch

        return self._resize_and_crop(torch.from_numpy(pixels[None]))[0].contiguous().numpy()

    def to_input(
        self, arrays: Sequence[Pixels], device: torch.device | str = "cpu", *, channels_last: bool = False
    ) -> torch.Tensor:
        """N arrays of `preprocess` to one float32 batch (N, 3, H, W) on `device`, in the order given.

        The values do not depend on the grouping, the layout or on whether preprocess resized. Raises ValueError when
        the inputs are not of one size, which only a transform without crop can give.
        """
        import torch

        rows_by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, array in enumerate(arrays):
            rows_by_shape.setdefault(array.shape, []).append(row)
        sizes = {self.output_size(*shape[1:]) for shape in rows_by_shape}
        if len(sizes) != 1:
            raise ValueError(f"the inputs are of {len(sizes)} sizes; a batch holds one")
        parts = [self._finish(np.stack([arrays[row] for row in rows]), device) for rows in rows_by_shape.values()]
        batch = parts[0]
        if len(parts) > 1:
            order = torch.tensor([row for rows in rows_by_shape.values() for row in rows])
            batch = torch.cat(parts)[_send(torch.argsort(order), device)]
        return self._normalise(batch, channels_last)

    def _finish(self, images: Pixels, device: torch.device | str) -> torch.Tensor:
        """uint8 (N, 3, h, w) of one shape to the model's size, still uint8."""
        import torch

        batch = _send(torch.from_numpy(images), device)
        height, width = images.shape[-2:]
        # An image of the input's own size was cropped to it by preprocess: it is not fewer bytes than the input.
        if (height, width) == self.input_size:
            return batch
        return self._resize_and_crop(batch)

    def _resize_and_crop(self, batch: torch.Tensor) -> torch.Tensor:
        height, width = batch.shape[-2:]
        size = resized_size(height, width, self.settings.resize)
        resized = resize(batch, size, self.settings.interpolation)
        return centre_crop(resized, self.settings.crop, cuts=self.settings.crop_from == "floor")

    def _normalise(self, batch: torch.Tensor, channels_last: bool) -> torch.Tensor:
        import torch

        layout = torch.channels_last if channels_last else torch.contiguous_format
        mean, std = _statistics(self.settings.mean, self.settings.std, batch.device)
        # In this order and not fused, so that the values are torchvision's to the last bit.
        return batch.contiguous(memory_format=layout).to(torch.float32).div_(255).sub_(mean).div_(std)


def _send(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """To `device` without waiting for what it computes: a copy from memory that is not pinned would."""
    import torch

    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@lru_cache(maxsize=64)
def _statistics(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kept on the device: to send them for each batch would wait for the device each time."""
    import torch

    return torch.tensor(mean, device=device).view(3, 1, 1), torch.tensor(std, device=device).view(3, 1, 1)
