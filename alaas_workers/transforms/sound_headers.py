"""Format, rate, channels and length of a sound from its own header: what preprocess judges before any decoder sees it.

A FLAC file of some kilobytes can hold hours, and libsndfile reads some 25 formats; three are enough to keep safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import error as StructError
from struct import unpack_from
from typing import NamedTuple
from zlib import crc32

from alaas.errors import SampleCode, SampleError

MIN_RATE, MAX_RATE = 1000, 192_000  # Hz; a filter from or to other rates would itself be large
MAX_CHANNELS = 8

_WAV_CODES = frozenset({1, 3, 6, 7})  # integers, floats, A-law, mu-law; no ADPCM, GSM or MP3 inside a WAV
_EXTENSIBLE = 0xFFFE
_UNKNOWN = 0xFFFFFFFF  # the length that a program writes which cannot go back to its file's start
_FIRST, _LAST = 2, 4  # flags of an Ogg page
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class SoundHeader(NamedTuple):
    format: str  # "wav", "flac" or "ogg"
    rate: int  # Hz
    channels: int
    frames: int  # values of each channel
    seconds: float


class _Page(NamedTuple):
    flags: int
    position: int  # values up to its end, as the codec counts them; -1: no packet ends here
    stream: int
    body: bytes


def read_sound_header(data: bytes) -> SoundHeader:
    """Raises SampleError: EMPTY, NOT_AUDIO (no format that we decode) or TRUNCATED (ends early, or makes no sense)."""
    if not data:
        raise SampleError(SampleCode.EMPTY, "there are no bytes")
    reader = _reader(data)
    if reader is None:
        raise SampleError(SampleCode.NOT_AUDIO, "not a WAV, FLAC or Ogg sound")
    try:
        return reader(data)
    except (StructError, IndexError):
        raise _broken("the sound ends within its header") from None


def check_sound(header: SoundHeader, max_seconds: float) -> None:
    """Raises SampleError for what cannot be, and for what would take too much memory or time to decode."""
    if not MIN_RATE <= header.rate <= MAX_RATE:
        raise _broken(f"a rate of {header.rate} Hz; sounds have {MIN_RATE} to {MAX_RATE}")
    if header.channels < 1:
        raise _broken("a sound without a channel")
    if header.channels > MAX_CHANNELS:
        raise SampleError(SampleCode.TOO_MANY_CHANNELS, f"{header.channels} channels; at most {MAX_CHANNELS} are mixed")
    if header.frames == 0:
        raise SampleError(SampleCode.EMPTY, "the sound lasts no time")
    if header.seconds > max_seconds:
        raise SampleError(SampleCode.TOO_LONG, f"{header.seconds:.0f} s; at most {max_seconds:g} are read")


def _reader(data: bytes) -> Callable[[bytes], SoundHeader] | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return _wav
    if data.startswith(b"fLaC"):
        return _flac
    return _ogg if data.startswith(b"OggS") else None


def _wav(data: bytes) -> SoundHeader:
    rate = channels = width = 0
    for name, start, size in _chunks(data):
        if name == b"fmt ":
            code, channels, rate, _, _, bits = unpack_from("<HHIIHH", data, start)
            if code == _EXTENSIBLE:
                (code,) = unpack_from("<H", data, start + 24)
            if code not in _WAV_CODES:
                raise SampleError(SampleCode.NOT_AUDIO, "a WAV that is compressed in a way that is not decoded")
            width = channels * ((bits + 7) // 8)
        elif name == b"data":
            return _wav_of(data, start, size, rate, channels, width)
    raise _broken("a WAV without sound in it")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk of a RIFF file."""
    at = 12
    while at < len(data):
        name, size = unpack_from("<4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def _wav_of(data: bytes, start: int, size: int, rate: int, channels: int, width: int) -> SoundHeader:
    there = len(data) - start
    if size != _UNKNOWN and size > there:
        raise _broken(f"the header promises {size} bytes of sound, and {there} are there")
    if channels and not width:
        raise _broken("a WAV whose values have no width")
    frames = min(size, there) // width if width else 0
    return _header("wav", rate, channels, frames)


def _flac(data: bytes) -> SoundHeader:
    header = _flac_block(data, 4, "flac")
    if header.frames == 0 and _has_frames(data):
        # libsndfile stumbles at the end of such a file, also where it is whole.
        raise _broken("a FLAC whose header does not tell its length")
    return header


def _flac_block(data: bytes, at: int, kind: str) -> SoundHeader:
    """The first block tells all: 20 bits of rate, 3 of channels, 5 of width, 36 of length."""
    if data[at] & 0x7F:
        raise _broken("a FLAC that does not begin with its description")
    (bits,) = unpack_from(">Q", data, at + 14)
    return _header(kind, bits >> 44, (bits >> 41 & 7) + 1, bits & (1 << 36) - 1)


def _has_frames(data: bytes) -> bool:
    """Whether anything follows the blocks of a FLAC's header, of which the last is marked."""
    at, is_last = 4, False
    while not is_last:
        (word,) = unpack_from(">I", data, at)
        at, is_last = at + 4 + (word & 0xFFFFFF), bool(word >> 31)
    return at < len(data)


def _ogg(data: bytes) -> SoundHeader:
    """One stream of Vorbis, Opus or FLAC. Several, such as a film's, are refused: which one would be meant?"""
    pages = _pages(data)
    first = next(pages)
    last, position = first, first.position
    for page in pages:
        if page.flags & _FIRST or page.stream != first.stream:
            raise SampleError(SampleCode.NOT_AUDIO, "an Ogg file of more than one stream")
        last, position = page, max(position, page.position)
    header, skipped, clock = _codec(first.body)
    if not last.flags & _LAST:
        raise _broken("the sound ends before its last page")
    frames = max(0, position - skipped)
    return header._replace(frames=frames, seconds=frames / clock if clock else 0.0)


def _pages(data: bytes) -> Iterator[_Page]:
    at = 0
    while at < len(data):
        mark, _, flags, position, stream, _, checksum, count = unpack_from("<4sBBqIIIB", data, at)
        start = at + 27 + count
        end = start + sum(data[at + 27 : start])
        # libsndfile leaves a page with a wrong checksum out, without a word, and the sound is another.
        if mark != b"OggS" or end > len(data) or checksum != _ogg_checksum(data[at:end]):
            raise _broken("the sound ends early, or its pages are corrupt")
        yield _Page(flags, position, stream, data[start : start + 80])
        at = end


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 from the highest bit down, over the page without its checksum: zlib's, of bytes and with bits reversed."""
    reversed_bits = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    return int(f"{crc32(reversed_bits, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _codec(packet: bytes) -> tuple[SoundHeader, int, int]:
    """The header without its length; how many values at the start do not count; and how many make a second."""
    if packet.startswith(b"\x01vorbis"):
        channels, rate = unpack_from("<BI", packet, 11)
        return _header("ogg", rate, channels), 0, rate
    if packet.startswith(b"OpusHead"):
        channels, skipped = unpack_from("<BH", packet, 9)
        return _header("ogg", 48_000, channels), skipped, 48_000
    if packet.startswith(b"\x7fFLAC") and packet[9:13] == b"fLaC":
        header = _flac_block(packet, 13, "ogg")
        return header, 0, header.rate
    raise SampleError(SampleCode.NOT_AUDIO, "an Ogg file whose stream is no Vorbis, Opus or FLAC sound")


def _header(kind: str, rate: int, channels: int, frames: int = 0) -> SoundHeader:
    return SoundHeader(kind, rate, channels, frames, frames / rate if rate else 0.0)


def _broken(detail: str) -> SampleError:
    return SampleError(SampleCode.TRUNCATED, detail)
