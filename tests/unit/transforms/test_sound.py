"""Sounds: what is decoded, mixed and resampled, and the code that each bad one gets."""

from __future__ import annotations

import io
import struct
import time
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from alaas.errors import SampleCode, SampleError
from alaas_workers.transforms.sound import Values, as_floats, decode_mono
from tests.support import images
from tests.support.sounds import encoded, raw_wav, tone, wav

ALL = 10**6
MAX_SECONDS = 60.0


def decode(data: bytes, rate: int = 8000, count: int = ALL) -> Values:
    return decode_mono(data, rate, count, MAX_SECONDS)


def refused(data: bytes, **options: Any) -> SampleCode:
    with pytest.raises(SampleError) as caught:
        decode(data, **options)
    return caught.value.sample_code


def by_soundfile(data: bytes) -> Any:
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]


KINDS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAVEX", "PCM_16"), ("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_each_format_gives_soundfiles_values_mixed_to_one_channel(kind: str, subtype: str, channels: int) -> None:
    data = encoded(tone(0.5, 8000, channels), 8000, kind, subtype)
    np.testing.assert_array_equal(as_floats(decode(data)), by_soundfile(data).mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_what_16_bits_hold_travels_as_16_bits(kind: str, subtype: str) -> None:
    values = decode(encoded(tone(0.1), 8000, kind, subtype))
    assert values.dtype == (np.int16 if subtype in ("PCM_U8", "PCM_S8", "PCM_16", "ULAW", "ALAW") else np.float32)


@pytest.mark.parametrize(("of", "to"), [(8000, 16_000), (44_100, 16_000), (48_000, 8000), (11_025, 8000), (8001, 8000)])
def test_another_rate_is_resampled_by_scipys_polyphase_filter(of: int, to: int) -> None:
    data = wav(0.3, of)
    expected = resample_poly(by_soundfile(data)[:, 0], to, of)
    np.testing.assert_array_equal(decode(data, to), expected)


def test_a_tone_keeps_its_pitch_when_it_is_resampled() -> None:
    time_s = np.arange(44_100) / 44_100
    values = as_floats(decode(encoded(0.5 * np.sin(2 * np.pi * 440 * time_s), 44_100), 16_000))
    assert len(values) == 16_000
    inner = slice(200, -200)
    np.testing.assert_allclose(
        values[inner], 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)[inner], atol=2e-3
    )


@pytest.mark.parametrize(("of", "to"), [(8000, 8000), (8000, 16_000), (44_100, 16_000), (48_000, 8000)])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_to_cut_a_long_sound_gives_the_start_of_the_whole(of: int, to: int, kind: str) -> None:
    data = encoded(tone(1.5, of), of, kind)
    np.testing.assert_allclose(
        as_floats(decode(data, to, 5000)), as_floats(decode(data, to))[:5000], atol=0 if kind != "OGG" else 1e-7
    )


def test_silence_is_a_sound_like_any_other() -> None:
    for kind in ("WAV", "FLAC", "OGG"):
        assert not decode(encoded(np.zeros(4000), 8000, kind), 16_000).any()


def test_one_value_is_a_sound() -> None:
    assert len(decode(raw_wav(b"\1\2"))) == 1
    assert len(decode(raw_wav(b"\1\2"), 16_000)) == 2
    assert len(decode(raw_wav(b"\1\2", rate=192_000), 16_000)) == 1


def test_a_length_that_its_writer_could_not_know_is_what_is_there() -> None:
    body = wav()[44:]
    np.testing.assert_array_equal(decode(raw_wav(body, size=0xFFFFFFFF)), decode(raw_wav(body)))


def test_only_what_is_heard_of_a_flac_has_to_be_whole() -> None:
    """Of a WAV and an Ogg the header tells that it ends early; of a FLAC only decoding does."""
    data = encoded(tone(2.0), 8000, "FLAC")
    np.testing.assert_array_equal(decode(data[:-500], count=100), decode(data)[:100])


# Bad sounds, each with its code.


def of_length(flac: bytes, frames: int) -> bytes:
    """With another length in its header; 0 is unknown, as a program writes it that cannot go back to the start."""
    (bits,) = struct.unpack_from(">Q", flac, 18)
    return flac[:18] + struct.pack(">Q", bits >> 36 << 36 | frames) + flac[26:]


def floats(*values: float) -> bytes:
    return raw_wav(struct.pack(f"<{len(values)}f", *values), bits=32, code=3)


def ogg_page(body: bytes, flags: int, stream: int = 7, position: int = 0) -> bytes:
    lengths = [255] * (len(body) // 255) + [len(body) % 255]
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, position, stream, 0)
    rest = bytes([len(lengths), *lengths]) + body
    return head + struct.pack("<I", checksum(head + bytes(4) + rest)) + rest


def checksum(page: bytes) -> int:
    """As Ogg's description has it: bit by bit, the highest first, by the polynomial 0x04C11DB7."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


VORBIS = encoded(tone(0.5), 8000, "OGG")
FILM = ogg_page(b"\x80theora" + bytes(35), 2, stream=9) + VORBIS
FLAC = encoded(tone(2.0), 8000, "FLAC")
HOURS = encoded(np.zeros(8000 * 3600 * 3, np.int16), 8000, "FLAC")

BAD: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "empty"),
    "a WAV without a value": (raw_wav(b""), "empty"),
    "a FLAC without a value": (encoded(np.zeros(0), 8000, "FLAC"), "empty"),
    "an Ogg without a value": (encoded(np.zeros(0), 8000, "OGG"), "empty"),
    "less than one value": (raw_wav(b"\0"), "empty"),
    "an MP3": (encoded(tone(0.5), 8000, "MP3"), "not_audio"),
    "an MP3 within a WAV": (raw_wav(bytes(500), code=0x55), "not_audio"),
    "ADPCM within a WAV": (encoded(tone(0.5), 8000, "WAV", "IMA_ADPCM"), "not_audio"),
    "an AIFF": (encoded(tone(0.5), 8000, "AIFF"), "not_audio"),
    "an AU": (encoded(tone(0.5), 8000, "AU"), "not_audio"),
    "a PNG": (images.png(), "not_audio"),
    "a WebP, which is a RIFF too": (b"RIFF\0\0\0\0WEBPVP8 ", "not_audio"),
    "text": (b"not a sound at all", "not_audio"),
    "an Ogg with video": (FILM, "not_audio"),
    "an Ogg of video alone": (ogg_page(b"\x80theora" + bytes(35), 2) + ogg_page(b"x", 4), "not_audio"),
    "two sounds in one Ogg": (VORBIS + encoded(tone(0.5, seed=1), 8000, "OGG"), "not_audio"),
    "a WAV that ends early": (wav()[:-100], "truncated"),
    "a WAV that promises a gigabyte": (raw_wav(bytes(100), size=2**30), "truncated"),
    "a WAV that ends in its header": (wav()[:30], "truncated"),
    "a WAV without sound": (wav()[:36], "truncated"),
    "a FLAC of unknown length": (of_length(FLAC, 0), "truncated"),
    "a FLAC that promises a year": (of_length(FLAC, 2**36 - 1), "too_long"),
    "a FLAC that ends in its header": (encoded(tone(0.5), 8000, "FLAC")[:20], "truncated"),
    "an Ogg that ends early": (VORBIS[: len(VORBIS) // 2], "truncated"),
    "an Ogg without its last page": (VORBIS[: VORBIS.rindex(b"OggS")], "truncated"),
    "an Ogg with a hole": (VORBIS[:200] + bytes(50) + VORBIS[250:][:0] + VORBIS[-300:], "truncated"),
    "0 Hz": (raw_wav(bytes(100), rate=0), "truncated"),
    "1 Hz": (raw_wav(bytes(100), rate=1), "truncated"),
    "4 GHz": (raw_wav(bytes(100), rate=2**32 - 1), "truncated"),
    "no channels": (raw_wav(bytes(100), channels=0), "truncated"),
    "values of no width": (raw_wav(bytes(100), bits=0), "truncated"),
    "values of 13 bytes": (raw_wav(bytes(1040), bits=104), "truncated"),
    "64 channels": (raw_wav(bytes(12_800), channels=64), "too_many_channels"),
    "65,535 channels": (raw_wav(bytes(131_070), channels=65_535), "too_many_channels"),
    "NaN": (floats(0.1, float("nan"), 0.1), "not_finite"),
    "Inf": (floats(0.1, float("inf"), 0.1), "not_finite"),
    "numbers beyond any sound": (floats(0.1, -1e30, 0.1), "not_finite"),
    "three hours in a small file": (HOURS, "too_long"),
    "a WAV of a minute and a second": (raw_wav(bytes(2 * 8000 * 61)), "too_long"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), BAD.values(), ids=BAD)
def test_a_bad_sound_has_a_fixed_code(data: bytes, code: str) -> None:
    assert refused(data) == code
    assert refused(data, rate=16_000, count=100) == code


def test_a_flac_that_ends_early_is_truncated() -> None:
    assert refused(FLAC[:-500]) == refused(of_length(FLAC, 20_000)) == "truncated"


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 8000), ("OPUS", 48_000)])
def test_an_ogg_with_one_wrong_byte_is_truncated(subtype: str, rate: int) -> None:
    """libsndfile would leave that page out without a word."""
    whole = encoded(tone(5.0, rate), rate, "OGG", subtype)
    for at in range(100, len(whole), len(whole) // 40):
        data = bytearray(whole)
        data[at] ^= 0x10
        assert refused(bytes(data)) == "truncated"


def test_three_hours_are_small_and_refused_at_once() -> None:
    assert len(HOURS) < 300_000
    start = time.perf_counter()
    assert refused(HOURS) == "too_long"
    assert time.perf_counter() - start < 0.1


def test_a_flac_that_hides_its_hours_costs_no_more_than_what_is_heard() -> None:
    data = of_length(HOURS, 8000 * 50)
    start = time.perf_counter()
    assert len(decode(data, count=8000)) == 8000
    assert time.perf_counter() - start < 0.5


def test_a_detail_names_no_path() -> None:
    for data, _ in BAD.values():
        with pytest.raises(SampleError) as caught:
            decode(data)
        assert "/" not in caught.value.detail and "BytesIO" not in caught.value.detail


SOUNDS = [wav(0.05), wav(0.05, channels=2, subtype="FLOAT"), encoded(tone(0.05), 8000, "FLAC"), VORBIS,
          encoded(tone(0.05, 48_000), 48_000, "OGG", "OPUS")]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_bytes_give_a_sound_or_a_code_and_nothing_else(data: st.DataObject) -> None:
    sound = bytearray(data.draw(st.sampled_from(SOUNDS)))
    for _ in range(data.draw(st.integers(0, 4))):
        sound[data.draw(st.integers(0, min(len(sound), 400) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(sound)))
    try:
        values = decode(bytes(sound[:cut] if data.draw(st.booleans()) else sound), 8000, 4000)
    except SampleError:
        return
    assert values.dtype in (np.int16, np.float32) and 1 <= len(values) <= 4000
    assert np.isfinite(values).all()
