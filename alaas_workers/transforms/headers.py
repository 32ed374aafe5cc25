"""Format and size of an image from its first bytes, without decoding: what preprocess checks before it spends memory.

A compressed image of 500 KB can decode to 660 MB, so the size is read before any decoder sees the data.
"""

from __future__ import annotations

from struct import error as StructError
from struct import unpack_from
from typing import NamedTuple

from alaas.errors import SampleCode, SampleError

MAX_JPEG_SCANS = 100
"""A progressive JPEG has about 10 scans; each costs a pass over the whole image, and a few bytes can ask for one."""

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})


class ImageHeader(NamedTuple):
    format: str  # "jpeg", "png", "gif", "webp" or "bmp"
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """Raises SampleError: EMPTY, NOT_AN_IMAGE (no format that we decode) or TRUNCATED (ends before its size)."""
    if not data:
        raise SampleError(SampleCode.EMPTY, "there are no bytes")
    kind = _format(data)
    if kind is None:
        raise SampleError(SampleCode.NOT_AN_IMAGE, "not a JPEG, PNG, GIF, WebP or BMP image")
    try:
        width, height = _SIZES[kind](data)
    except (StructError, IndexError, ValueError):
        raise SampleError(SampleCode.TRUNCATED, "the image ends before its size is told") from None
    if width < 1 or height < 1:
        raise SampleError(SampleCode.TRUNCATED, "the image has no width or no height")
    return ImageHeader(kind, width, height)


def check_size(header: ImageHeader, data: bytes, max_pixels: int) -> None:
    """Raises SampleError TOO_MANY_PIXELS for what would take too much memory or time to decode."""
    if header.width * header.height > max_pixels:
        raise SampleError(
            SampleCode.TOO_MANY_PIXELS, f"{header.width} x {header.height} is more than {max_pixels} pixels"
        )
    # Inside the compressed data a 0xFF byte is always followed by 0x00 or a restart marker, so this counts scans.
    if header.format == "jpeg" and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise SampleError(SampleCode.TOO_MANY_PIXELS, f"a JPEG of more than {MAX_JPEG_SCANS} scans")


def _format(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return "bmp" if data.startswith(b"BM") else None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments as libjpeg does, to the first start of frame: a second one is an error to libjpeg."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in _START_OF_FRAME:
            height, width = unpack_from(">HH", data, at + 3)
            return int(width), int(height)
        if marker not in _NO_LENGTH:
            at += unpack_from(">H", data, at)[0]


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = unpack_from(">II", data, 16)
    return int(width), int(height)


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = unpack_from("<HH", data, 6)
    return int(width), int(height)


def _bmp_size(data: bytes) -> tuple[int, int]:
    if unpack_from("<I", data, 14)[0] == 12:  # the header of OS/2
        width, height = unpack_from("<HH", data, 18)
    else:
        width, height = unpack_from("<ii", data, 18)
    return int(width), abs(int(height))  # a negative height means rows from the top


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":  # extended: 24 bits each, less one
        low = unpack_from("<HBHB", data, 24)
        return (low[0] | low[1] << 16) + 1, (low[2] | low[3] << 16) + 1
    if chunk == b"VP8L":  # lossless: 14 bits each, less one
        bits = unpack_from("<I", data, 21)[0]
        return int(bits & 0x3FFF) + 1, int(bits >> 14 & 0x3FFF) + 1
    width, height = unpack_from("<HH", data, 26)
    return int(width & 0x3FFF), int(height & 0x3FFF)


_SIZES = {"jpeg": _jpeg_size, "png": _png_size, "gif": _gif_size, "webp": _webp_size, "bmp": _bmp_size}
