"""Sounds in memory: real encoders make them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Floats = npt.NDArray[np.float64]


def tone(seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0) -> Floats:
    """(n, channels) a chord that fades, and noise; channels and seeds differ."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = rng.uniform(150, 0.35 * rate, (3, channels))
    chord = np.sin(2 * np.pi * time[:, None, None] * pitches).sum(1) * np.exp(-3 * time)[:, None]
    return np.asarray(0.15 * chord + rng.normal(0, 0.01, (len(time), channels)))


def encoded(values: npt.NDArray[Any], rate: int = 8000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, values, rate, format=kind, subtype=subtype)
    return out.getvalue()


def wav(seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0, subtype: str = "PCM_16") -> bytes:
    return encoded(tone(seconds, rate, channels, seed), rate, "WAV", subtype)


def raw_wav(
    body: bytes, rate: int = 8000, channels: int = 1, bits: int = 16, code: int = 1, size: int | None = None
) -> bytes:
    """With any header: `size` is what it says of the body."""
    width = channels * ((bits + 7) // 8)
    said = len(body) if size is None else size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVE" + form + struct.pack("<4sI", b"data", said) + body
