"""Hostile bytes to one channel of sound at a model's rate. The only place that decodes sounds.

Channels are mixed down to their mean; another rate is resampled by a polyphase filter (scipy's `resample_poly`: a
Kaiser window of beta 5, ten values of the lower rate to each side). Both are pure functions of the values.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from alaas.errors import ModelError, SampleCode, SampleError
from alaas_workers.transforms.sound_headers import SoundHeader, check_sound, read_sound_header

Values = npt.NDArray[np.int16] | npt.NDArray[np.float32]

FULL_SCALE = 32768  # of 16-bit values; 1.0 of floats
MAX_PEAK = 1e6
"""Of floats, where 1.0 is full scale: what writers of floats at the scale of integers reach is far below."""

_BLOCK = 65_536  # frames decoded at once, of up to 8 channels
_FORMATS = frozenset({"WAV", "WAVEX", "FLAC", "OGG"})
_BITS_16 = frozenset({"PCM_16", "PCM_U8", "PCM_S8", "ULAW", "ALAW"})  # what 16 bits hold exactly
_HALF_FILTER = 10  # of `resample_poly`, in values of the lower rate


def decode_mono(data: bytes, rate: int, count: int, max_seconds: float) -> Values:
    """(n,) the first `count` values at `rate` Hz, or as many as there are, at least 1.

    int16 where the file's own values are 16-bit, of one channel and at this rate; else float32, where 1.0 is full
    scale. Both hold the same as decoding to floats: an int16 over 32768. (Integers of 32 bits and float64 are rounded.)
    Raises SampleError: EMPTY, NOT_AUDIO, TOO_LONG, TOO_MANY_CHANNELS (all told from the header), TRUNCATED, NOT_FINITE.
    """
    header = read_sound_header(data)
    check_sound(header, max_seconds)
    with _opened(data) as file:
        # What the decoder reads is what counts: a second header inside the file may differ from the first.
        check_sound(header._replace(rate=file.samplerate, channels=file.channels), max_seconds)
        up, down = _ratio(file.samplerate, rate)
        wanted = math.ceil(count * down / up) + _reach(up, down)
        values = _read(file, wanted, header, is_16_bit=up == down == 1 and file.subtype in _BITS_16)
    return _resampled(values, up, down)[:count]


def as_floats(values: Values) -> npt.NDArray[np.float32]:
    """float32, where 1.0 is full scale."""
    if values.dtype == np.int16:
        return values.astype(np.float32) / np.float32(FULL_SCALE)
    return values.astype(np.float32, copy=False)


def soundfile() -> Any:
    """The library, at first use. Raises ModelError where it is not installed."""
    try:
        import soundfile as library
    except (ImportError, OSError):  # OSError: it is there and libsndfile is not
        raise ModelError("sounds need a library that is not installed: pip install 'alaas[audio]'") from None
    return library


def _opened(data: bytes) -> Any:
    library = soundfile()
    try:
        file = library.SoundFile(io.BytesIO(data))
    except library.LibsndfileError:
        raise _corrupt() from None
    if file.format not in _FORMATS:
        file.close()
        raise SampleError(SampleCode.NOT_AUDIO, "not a WAV, FLAC or Ogg sound")
    return file


def _read(file: Any, wanted: int, header: SoundHeader, *, is_16_bit: bool) -> Values:
    """(n,) up to `wanted` frames mixed to one channel, a block at a time: eight channels take the memory of one."""
    dtype = "int16" if is_16_bit and file.channels == 1 else "float32"
    blocks = []
    got = 0
    while got < wanted:
        block = _block(file, min(_BLOCK, wanted - got), dtype)
        if not len(block):
            break
        blocks.append(_mixed(block))
        got += len(block)
    # Of Opus the header's count is at another rate than the file's, and libsndfile tells only the latter.
    promised = file.frames if header.format == "ogg" else header.frames
    if got < min(wanted, promised):
        raise SampleError(SampleCode.TRUNCATED, f"the sound ends after {got} of {promised} values")
    if not got:
        raise SampleError(SampleCode.EMPTY, "the sound lasts no time")
    joined: npt.NDArray[Any] = np.concatenate(blocks)
    return joined


def _block(file: Any, frames: int, dtype: str) -> npt.NDArray[Any]:
    try:
        block: npt.NDArray[Any] = file.read(frames, dtype=dtype, always_2d=True)
    except soundfile().LibsndfileError:
        raise _corrupt() from None
    return block


def _mixed(block: npt.NDArray[Any]) -> Values:
    """(n, channels) to (n,). Raises SampleError NOT_FINITE."""
    if block.dtype == np.int16:
        return block[:, 0]
    if not (np.abs(block) <= MAX_PEAK).all():  # nor is NaN
        raise SampleError(SampleCode.NOT_FINITE, f"it holds NaN, Inf or values beyond {MAX_PEAK:g}")
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _ratio(of: int, to: int) -> tuple[int, int]:
    common = math.gcd(of, to)
    return to // common, of // common


def _reach(up: int, down: int) -> int:
    """Values of the file that the filter looks ahead: with them, cutting before and after resampling is the same."""
    return 0 if up == down else math.ceil(_HALF_FILTER * max(up, down) / up) + 1


def _resampled(values: Values, up: int, down: int) -> Values:
    if up == down:
        return values
    from scipy.signal import resample_poly

    resampled: npt.NDArray[np.float32] = resample_poly(values, up, down, window=_filter(max(up, down)))
    return resampled


@lru_cache(maxsize=2)
def _filter(rate: int) -> npt.NDArray[np.float32]:
    """The filter that `resample_poly` itself designs, which for rates without a common divisor takes long."""
    from scipy.signal import firwin

    taps = firwin(2 * _HALF_FILTER * rate + 1, 1 / rate, window=("kaiser", 5.0))
    return np.asarray(taps, np.float32)


def _corrupt() -> SampleError:
    return SampleError(SampleCode.TRUNCATED, "the sound ends early or is corrupt")
