from __future__ import annotations

import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alaas.errors import SampleCode, SampleError
from alaas_workers.transforms import use_one_thread
from alaas_workers.transforms.decode import decode_rgb
from tests.support.images import by_pillow, encoded, jpeg, picture, png

MANY = 1_000_000

READABLE = {
    "jpeg": jpeg(),
    "jpeg, no subsampling": jpeg(quality=95, subsampling=0),
    "jpeg, progressive": jpeg(progressive=True),
    "jpeg, grey": encoded(picture(mode="L"), "JPEG"),
    "jpeg, CMYK": encoded(picture(mode="CMYK"), "JPEG"),
    "png": png(),
    "png, alpha": encoded(picture(mode="RGBA"), "PNG"),
    "png, grey": encoded(picture(mode="L"), "PNG"),
    "png, grey and alpha": encoded(picture(mode="LA"), "PNG"),
    "png, palette": encoded(picture(mode="P"), "PNG"),
    "png, palette with a transparent colour": encoded(picture(mode="P"), "PNG", transparency=3),
    "png, two colours": encoded(picture(mode="1"), "PNG"),
    "gif": encoded(picture(mode="P"), "GIF"),
    "webp": encoded(picture(), "WEBP"),
    "webp, alpha": encoded(picture(mode="RGBA"), "WEBP", lossless=True),
    "bmp": encoded(picture(), "BMP"),
}


def _code(data: bytes, max_pixels: int = MANY) -> SampleCode:
    with pytest.raises(SampleError) as caught:
        decode_rgb(data, max_pixels)
    return caught.value.sample_code


@pytest.mark.parametrize("data", READABLE.values(), ids=READABLE.keys())
def test_every_kind_of_image_becomes_the_rgb_that_pillow_makes(data: bytes) -> None:
    pixels = decode_rgb(data, MANY)
    assert pixels.dtype == np.uint8 and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, by_pillow(data))


def test_of_sixteen_bits_the_high_byte_is_kept() -> None:
    wide = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 54
    pixels = decode_rgb(encoded(Image.fromarray(wide), "PNG"), MANY)
    np.testing.assert_array_equal(pixels, np.broadcast_to((wide >> 8).astype(np.uint8), (3, 30, 40)))


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert decode_rgb(jpeg(40, 30, exif=exif), MANY).shape == (3, 30, 40)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [picture(mode="RGB", seed=seed) for seed in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_rgb(data, MANY), by_pillow(data))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", READABLE)
def test_an_image_that_ends_early_is_an_error_and_not_a_grey_half(kind: str, share: float) -> None:
    data = READABLE[kind]
    assert _code(data[: int(share * len(data))]) is SampleCode.TRUNCATED


def test_a_jpeg_without_only_its_end_marker_is_truncated() -> None:
    assert _code(jpeg()[:-2]) is SampleCode.TRUNCATED


def test_an_error_names_neither_path_nor_library() -> None:
    with pytest.raises(SampleError) as caught:
        decode_rgb(jpeg()[:-50], MANY)
    assert caught.value.detail == "the image ends early or is corrupt"


def _bomb(side: int) -> bytes:
    """A valid PNG of zeros, some hundred times smaller than its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(1 + 3 * side)) for _ in range(side)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = _bomb(9000)  # 243 MB of pixels
    assert len(bomb) < 500_000
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _code(bomb, 64_000_000) is SampleCode.TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


def test_a_gif_whose_frame_is_larger_than_its_canvas_is_measured_by_its_frame() -> None:
    data = bytearray(encoded(picture(400, 300, "P"), "GIF"))
    data[6:10] = struct.pack("<HH", 4, 3)
    assert _code(bytes(data), max_pixels=100) is SampleCode.TOO_MANY_PIXELS


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(READABLE)), st.data())
def test_damaged_bytes_give_pixels_or_a_sample_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(READABLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_rgb(bytes(damaged), MANY)
    except SampleError:
        return
    assert pixels.dtype == np.uint8 and pixels.shape[0] == 3 and pixels[0].size <= MANY


def test_one_thread_decodes_in_a_preprocess_worker() -> None:
    before = torch.get_num_threads()
    try:
        use_one_thread()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
