"""The transform of audio models. Preprocess decodes, mixes down, resamples and cuts; what is padding never travels.

Waveforms travel as int16 where that loses nothing, else as float32; inference normalises and pads them. Spectrograms
are made in preprocess: they are about as many bytes, and the device does not wait for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alaas.config import AudioConfig
from alaas.config.sources import SourcesConfig
from alaas_workers.transforms.extractor import Extractor
from alaas_workers.transforms.sound import Values, as_floats, decode_mono, soundfile
from alaas_workers.transforms.spectrogram import LOG_FLOOR, frames_in, log_mel

if TYPE_CHECKING:
    import torch

    from alaas_workers.transforms import Batch

VERSION = 1
"""Of the values: count up whenever decoding, mixing, resampling or features would change one."""

LEAST_VALUES, LEAST_FRAMES = 4096, 16
"""Of an input of free length: shorter ones are padded to it. Networks of speech need some hundred values."""

_EPSILON = 1e-7  # transformers' own, so that silence stays zero
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioTransform:
    """Two of equal `id` give equal inputs. A row depends on its sample alone, bit for bit."""

    settings: AudioConfig

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over every parameter and VERSION."""
        text = json.dumps(["audio", VERSION, self.settings.model_dump(mode="json")], sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def full(self) -> int:
        """Values of the longest waveform."""
        return max(1, round(self.settings.seconds * self.settings.sample_rate))

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """(values), (1, bands, frames) or the extractor's; None: as long as the sound is."""
        if self._extractor is not None:
            return self._extractor.shape
        return self._shape(self._longest) if self.settings.length == "fixed" else None

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the row that an array of `preprocess` becomes; where the length is free it is the next of a few."""
        if self._extractor is not None:
            return self._extractor.shape
        return self._shape(self._length(shape[-1]))

    def example(self) -> npt.NDArray[Any]:
        """Silence as long as the input; a second where the length is free. Raises ModelError without soundfile."""
        soundfile()
        count = self.full if self.settings.length == "fixed" else min(self.full, self.settings.sample_rate)
        return self._travelling(np.zeros(count, np.int16))

    def preprocess(self, data: bytes, limits: SourcesConfig) -> npt.NDArray[Any]:
        """(values) int16 or float32, or (bands, frames) float32. Raises SampleError (see `decode_mono`)."""
        return self._travelling(decode_mono(data, self.settings.sample_rate, self.full, limits.max_seconds))

    def to_input(
        self, arrays: Sequence[npt.NDArray[Any]], device: torch.device | str = "cpu", *, channels_last: bool = False
    ) -> Batch:
        """N arrays of `preprocess` to one float32 batch on `device`: (N, values), (N, 1, bands, frames) or (N, ...) of
        the extractor; with attention_mask `input_values` and `attention_mask`, both (N, values).

        `channels_last` is of no effect: one channel lies the same in both ways.
        """
        import torch

        rows = torch.from_numpy(np.stack([self._row(array) for array in arrays])).to(device)
        if not self._gives_mask:
            return rows
        mask = np.zeros(rows.shape, np.int64)
        for row, array in zip(mask, arrays, strict=True):
            row[: len(array)] = 1
        return {"input_values": rows, "attention_mask": torch.from_numpy(mask).to(device)}

    @cached_property
    def _extractor(self) -> Extractor | None:
        return None if self.settings.extractor is None else Extractor(self.settings.extractor)

    @property
    def _gives_mask(self) -> bool:
        return self.settings.attention_mask and self.settings.features == "waveform"

    @property
    def _longest(self) -> int:
        return self.full if self.settings.features == "waveform" else frames_in(self.full, self.settings.hop)

    def _shape(self, length: int) -> tuple[int, ...]:
        return (length,) if self.settings.features == "waveform" else (1, self.settings.n_mels, length)

    def _length(self, length: int) -> int:
        if self.settings.length == "fixed":
            return self._longest
        if self.settings.length == "exact":
            return min(length, self._longest)
        least = LEAST_VALUES if self.settings.features == "waveform" else LEAST_FRAMES
        return min(next_length(max(length, least)), self._longest)

    def _travelling(self, values: Values) -> npt.NDArray[Any]:
        if self.settings.features == "waveform":
            return values
        floats = self._normalised(as_floats(values))
        if self._extractor is not None:
            return self._extractor(floats)
        each = self.settings
        return log_mel(floats, self.full, each.sample_rate, each.n_fft, each.hop, each.n_mels)

    def _row(self, array: npt.NDArray[Any]) -> Floats:
        """Of the input, padded."""
        if self._extractor is not None:
            return self._extractor.padded(array)
        if self.settings.features == "waveform":
            return _padded(self._normalised(as_floats(array)), self._length(len(array)), np.float32(0))
        return _padded(array, self._length(array.shape[-1]), LOG_FLOOR)[None]

    def _normalised(self, floats: Floats) -> Floats:
        if self.settings.normalisation == "none":
            return floats
        # As transformers' extractors write it, to the last bit.
        normalised: Floats = (floats - floats.mean()) / np.sqrt(floats.var() + _EPSILON)
        return normalised


def next_length(length: int) -> int:
    """The least of 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 ... that is not below: at most a quarter is padding."""
    step = 1 << max(0, (length - 1).bit_length() - 3)
    return -(-length // step) * step


def _padded(values: Floats, length: int, value: np.float32) -> Floats:
    """Along the last axis."""
    room = np.full((*values.shape[:-1], length), value, np.float32)
    room[..., : values.shape[-1]] = values
    return room
