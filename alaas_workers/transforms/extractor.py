"""Features as transformers' own extractors compute them, for the models that were trained on them: AST and Whisper.

These give inputs of one size whatever the sound. What they padded is a run of equal columns, which travels as one.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from alaas.errors import ModelError

Floats = npt.NDArray[np.float32]

_TIME_AXIS = {"ASTFeatureExtractor": 0, "WhisperFeatureExtractor": 1}
_LEAST_VALUES = 400  # one frame of either


class Extractor:
    """Made from what a preprocessor_config.json holds; loads transformers, and with it torch, at first use."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = dict(parameters)
        self._kind = str(self._parameters.pop("feature_extractor_type", ""))
        if self._kind not in _TIME_AXIS:
            raise ModelError(f"no extractor {self._kind!r:.80}; known: {', '.join(_TIME_AXIS)}")
        self._axis = _TIME_AXIS[self._kind]
        if self._kind == "WhisperFeatureExtractor":
            self._parameters["dither"] = 0.0  # noise that would be another each time

    def __call__(self, waveform: Floats) -> Floats:
        """The features with their last column, or row, once instead of as often as it repeats itself."""
        whole = self._whole(waveform)
        by_time = np.moveaxis(whole, self._axis, 0)
        differs = np.flatnonzero((by_time[:-1] != by_time[-1]).any(axis=1))
        kept = int(differs[-1]) + 2 if len(differs) else 1
        return np.ascontiguousarray(np.moveaxis(by_time[:kept], 0, self._axis))

    def padded(self, features: Floats) -> Floats:
        """As the extractor gave them."""
        missing = self.shape[self._axis] - features.shape[self._axis]
        widths = [(0, missing if axis == self._axis else 0) for axis in range(2)]
        return np.pad(features, widths, mode="edge")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one row of the model's input."""
        return self._whole(np.zeros(self._made.sampling_rate, np.float32)).shape

    def _whole(self, waveform: Floats) -> Floats:
        room = np.zeros(max(len(waveform), _LEAST_VALUES), np.float32)
        room[: len(waveform)] = waveform
        try:
            made = self._made(room, sampling_rate=self._made.sampling_rate, return_tensors="np")
            (features,) = (made[name] for name in ("input_values", "input_features") if name in made)
            return np.asarray(features[0], np.float32)
        except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
            raise self._refused(error) from None

    @cached_property
    def _made(self) -> Any:
        try:
            import transformers
        except ImportError:
            raise ModelError("this model's features need transformers: pip install 'alaas[audio]'") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # AST's lowest bands are narrower than a step of its spectrum
                return getattr(transformers, self._kind)(**self._parameters)
        except (TypeError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ModelError:
        return ModelError(f"{self._kind} does not work with its parameters: {type(error).__name__}")
