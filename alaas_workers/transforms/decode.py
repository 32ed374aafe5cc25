"""Hostile bytes to pixels: uint8, RGB, channels first. The only place that decodes.

Pixels are those of Pillow's `convert("RGB")`, except 16-bit grey, of which the high byte is kept. Alpha is dropped.
EXIF orientation is not applied: neither do the pipelines that ImageNet's models were trained with.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from alaas.errors import SampleCode, SampleError
from alaas_workers.transforms.headers import check_size, read_header

_MODE_RGB = 3  # torchvision.io.ImageReadMode.RGB
_PILLOW_FORMATS = {"png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP"}


def decode_rgb(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8]:
    """One image (of an animation its first frame) as uint8 (3, height, width), in any memory order.

    Raises SampleError: EMPTY, NOT_AN_IMAGE, TOO_MANY_PIXELS (told from the header, before decoding) or TRUNCATED.
    """
    header = read_header(data)
    check_size(header, data, max_pixels)
    if header.format == "jpeg":
        return _decode_jpeg(data)
    return _decode_by_pillow(data, _PILLOW_FORMATS[header.format], max_pixels)


def use_one_thread() -> None:
    """Call once in a preprocess worker: its processes are the parallelism, and torch's own pool would multiply them."""
    import torch

    torch.set_num_threads(1)


def _decode_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """Several times as fast as Pillow's, with the same pixels."""
    import torch

    from alaas_workers.transforms.jpeg_operator import register

    register()
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        # The operator itself: `torchvision.io.decode_jpeg` is the same with a deprecation warning a call.
        pixels: torch.Tensor = torch.ops.image.decode_jpeg(encoded, _MODE_RGB, False)
    except RuntimeError as error:
        if "memory" in str(error).lower():  # torch's and libjpeg's words; the image may be whole
            raise MemoryError("the image takes more memory than this process may have") from None
        raise _broken() from None
    return pixels.numpy()


def _decode_by_pillow(data: bytes, kind: str, max_pixels: int) -> npt.NDArray[np.uint8]:
    """torchvision's decoders of these crash the process on damaged bytes (PNG, GIF), or take all frames."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            # The first frame of a GIF may be larger than the canvas that its header told.
            if image.width * image.height > max_pixels:
                raise SampleError(SampleCode.TOO_MANY_PIXELS, f"more than {max_pixels} pixels")
            pixels = _high_bytes(np.array(image)) if image.mode.startswith("I") else np.array(image.convert("RGB"))
    except (SampleError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise SampleError(SampleCode.TOO_MANY_PIXELS, f"more than {max_pixels} pixels") from None
    except Exception:  # whatever a format's plugin stumbles over in hostile bytes
        raise _broken() from None
    return pixels.transpose(2, 0, 1)


def _high_bytes(grey: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """16-bit grey to RGB; Pillow's own way shows everything above 255 as white."""
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)


def _broken() -> SampleError:
    return SampleError(SampleCode.TRUNCATED, "the image ends early or is corrupt")
