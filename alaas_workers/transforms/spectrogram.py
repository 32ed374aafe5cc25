"""Log-mel spectrograms in plain NumPy: each of one waveform alone, so that no neighbour changes a bit of it.

Frames of n_fft values under a periodic Hann window, centred at multiples of hop with zeros beyond both ends; the power
of their spectrum; triangular bands, equally far apart on HTK's mel scale from 0 Hz to half the rate and not normalised;
the natural logarithm of what is at least FLOOR. This is torchaudio's `MelSpectrogram` with pad_mode "constant".
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FLOOR = 1e-6
"""Of a band's power: a little above what rounding to 16 bits adds to silence."""
LOG_FLOOR = np.float32(math.log(FLOOR))


def frames_in(values: int, hop: int) -> int:
    """Of a waveform with so many values."""
    return 1 + values // hop


def log_mel(waveform: Floats, full: int, rate: int, n_fft: int, hop: int, n_mels: int) -> Floats:
    """(n_mels, frames) of a waveform that zeros follow up to `full` values; frames that hear only these are left out.

    Each would be LOG_FLOOR throughout.
    """
    heard = -(-(len(waveform) + n_fft // 2) // hop)
    frames = max(1, min(heard, frames_in(full, hop)))
    room = np.zeros((frames - 1) * hop + n_fft, np.float32)
    there = waveform[: len(room) - n_fft // 2]
    room[n_fft // 2 : n_fft // 2 + len(there)] = there
    cut = np.lib.stride_tricks.sliding_window_view(room, n_fft)[::hop]
    spectrum = np.fft.rfft(cut * _window(n_fft))
    power = spectrum.real**2 + spectrum.imag**2
    bands = _bands(rate, n_fft, n_mels) @ power.T
    return np.log(np.maximum(bands, np.float32(FLOOR)))


@lru_cache(maxsize=8)
def _window(n_fft: int) -> Floats:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


@lru_cache(maxsize=8)
def _bands(rate: int, n_fft: int, n_mels: int) -> Floats:
    """(n_mels, n_fft // 2 + 1)"""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    distances = edges[:, None] - np.fft.rfftfreq(n_fft, 1 / rate)
    widths = np.diff(edges)[:, None]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
