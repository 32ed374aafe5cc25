"""Images in memory: real encoders make them, and pixels tell of mistakes (no two rows or channels are alike)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def picture(width: int = 40, height: int = 30, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A smooth picture with noise, of any of Pillow's 8-bit modes."""
    rng = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands()) if mode not in ("P", "1") else 3
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), bands), np.uint8)
    layers = [Image.fromarray(coarse[..., band]).resize((width, height)) for band in range(bands)]
    image = Image.merge("RGB", layers) if mode in ("P", "1") else layers[0] if bands == 1 else Image.merge(mode, layers)
    return image if image.mode == mode else image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int = 40, height: int = 30, seed: int = 0, **options: Any) -> bytes:
    return encoded(picture(width, height, seed=seed), "JPEG", **options)


def png(width: int = 40, height: int = 30, seed: int = 0, **options: Any) -> bytes:
    return encoded(picture(width, height, seed=seed), "PNG", **options)


def by_pillow(data: bytes) -> Pixels:
    """What Pillow's convert("RGB") gives, channels first."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
