from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alaas.errors import SampleCode, SampleError
from alaas_workers.transforms.headers import check_size, read_header
from tests.support.images import encoded, jpeg, picture, png

SIZE = (123, 45)
IMAGES = {
    "jpeg": [
        jpeg(*SIZE),
        jpeg(*SIZE, progressive=True),
        encoded(picture(*SIZE, "L"), "JPEG"),
        encoded(picture(*SIZE, "CMYK"), "JPEG"),
        jpeg(*SIZE, exif=b"Exif\0\0" + bytes(3000), comment=b"\xff\xc0" * 50),
    ],
    "png": [png(*SIZE), encoded(picture(*SIZE, "P"), "PNG"), encoded(picture(*SIZE, "1"), "PNG")],
    "gif": [encoded(picture(*SIZE, "P"), "GIF")],
    "bmp": [encoded(picture(*SIZE), "BMP")],
    "webp": [
        encoded(picture(*SIZE), "WEBP"),
        encoded(picture(*SIZE), "WEBP", lossless=True),
        encoded(picture(*SIZE, "RGBA"), "WEBP"),
        encoded(picture(*SIZE), "WEBP", save_all=True, append_images=[picture(*SIZE, seed=1)]),
    ],
}


@pytest.mark.parametrize(("kind", "data"), [(kind, data) for kind, images in IMAGES.items() for data in images])
def test_format_and_size_are_read_without_decoding(kind: str, data: bytes) -> None:
    assert read_header(data) == (kind, *SIZE)


@pytest.mark.parametrize("data", [images[0] for images in IMAGES.values()])
def test_an_image_that_ends_before_its_size_is_truncated_or_no_image(data: bytes) -> None:
    for end in range(1, 10):
        with pytest.raises(SampleError) as caught:
            read_header(data[:end])
        assert caught.value.sample_code in (SampleCode.TRUNCATED, SampleCode.NOT_AN_IMAGE)


@pytest.mark.parametrize("data", [b"<html>not found</html>", b"%PDF-1.7", b"II*\0" + bytes(100), b"\0" * 100, b"x"])
def test_what_is_no_image_is_told(data: bytes) -> None:
    with pytest.raises(SampleError) as caught:
        read_header(data)
    assert caught.value.sample_code is SampleCode.NOT_AN_IMAGE


def test_no_bytes_are_told_apart() -> None:
    with pytest.raises(SampleError) as caught:
        read_header(b"")
    assert caught.value.sample_code is SampleCode.EMPTY


def test_an_image_without_width_is_refused() -> None:
    data = bytearray(png())
    data[16:20] = bytes(4)
    with pytest.raises(SampleError) as caught:
        read_header(bytes(data))
    assert caught.value.sample_code is SampleCode.TRUNCATED


def test_pixels_are_counted_from_the_header() -> None:
    header = read_header(png(200, 100))
    check_size(header, b"", max_pixels=20_000)
    with pytest.raises(SampleError) as caught:
        check_size(header, b"", max_pixels=19_999)
    assert caught.value.sample_code is SampleCode.TOO_MANY_PIXELS


def test_a_jpeg_of_hundreds_of_scans_is_refused() -> None:
    data = jpeg(progressive=True)
    check_size(read_header(data), data, max_pixels=10_000)
    bomb = data[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00" * 200 + b"\xff\xd9"
    with pytest.raises(SampleError) as caught:
        check_size(read_header(bomb), bomb, max_pixels=10_000)
    assert caught.value.sample_code is SampleCode.TOO_MANY_PIXELS


@settings(deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b""]),
    st.binary(max_size=80),
)
@example(b"\xff\xd8\xff", b"\xff" * 60)
@example(b"\xff\xd8\xff", b"\xe0\x00\x00\xff\xe0\x00\x00")
def test_hostile_headers_give_a_size_or_a_sample_error(magic: bytes, rest: bytes) -> None:
    try:
        header = read_header(magic + rest)
    except SampleError:
        return
    assert header.width > 0 and header.height > 0
