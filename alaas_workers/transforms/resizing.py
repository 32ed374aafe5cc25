"""Resize the shorter side (or both) and crop the centre, on uint8 batches of one shape: geometry as in torchvision,
pixels as Pillow's to within one level. Native uint8 is several times as fast as float32, and channels-last four times
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest-exact"}  # the exact one is Pillow's


def resized_size(height: int, width: int, shorter: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) once the shorter side is `shorter` pixels; two numbers: just these; None: as it is."""
    if shorter is None:
        return height, width
    if isinstance(shorter, tuple):
        return shorter
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def resize(batch: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """uint8 (N, 3, h, w) to `size`, antialiased, with uint8 values.

    On a CPU the result does not depend on N, on the memory layout or on threads. A GPU resizes in float32 and rounds,
    which moves about one pixel in five by one level.
    """
    import torch

    if tuple(batch.shape[-2:]) == size:
        return batch
    mode = _MODES[interpolation]
    antialias = interpolation != "nearest"
    batch = batch.contiguous(memory_format=torch.channels_last)
    if batch.device.type == "cpu":
        return torch.nn.functional.interpolate(batch, size=size, mode=mode, antialias=antialias)
    floats = torch.nn.functional.interpolate(batch.float(), size=size, mode=mode, antialias=antialias)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def centre_crop(batch: torch.Tensor, side: int | None, *, cuts: bool = False) -> torch.Tensor:
    """The central `side` x `side` pixels; what is smaller is padded with black around it first.

    `cuts`: half a pixel of an odd margin is cut off, where it is rounded to the even number otherwise.
    """
    import torch

    if side is None:
        return batch
    height, width = batch.shape[-2:]
    if height < side or width < side:
        high, wide = max(0, side - height), max(0, side - width)
        batch = torch.nn.functional.pad(batch, (wide // 2, (wide + 1) // 2, high // 2, (high + 1) // 2))
        height, width = batch.shape[-2:]
    if cuts:
        top, left = (height - side) // 2, (width - side) // 2
    else:
        top, left = round((height - side) / 2), round((width - side) / 2)
    return batch[..., top : top + side, left : left + side]
