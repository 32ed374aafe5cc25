"""Whether what a Triton server serves fits the transform and the settings that it is used with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas.jobs import SCORES, Feature, ScoresOf
from alaas_workers import triton_names as names
from alaas_workers.backends.served_model import ServedModel, Tensor

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch, Transform

Inputs = dict[str, npt.NDArray[Any]]

_SENT_AS = {"f": ("FP32", "FP16", "FP64"), "i": ("INT64", "INT32"), "b": ("BOOL",)}
_NUMPY = {"FP32": "f4", "FP16": "f2", "FP64": "f8", "INT64": "i8", "INT32": "i4", "BOOL": "?"}
_TAKEN = ("FP32", "FP16", "FP64")
_MAX_ROWS = 4096  # of one request, as of batch_size


@dataclass(frozen=True)
class Fit:
    """Which outputs are what, and how many rows a request has."""

    scores: Tensor | None
    is_logits: bool
    scores_of: ScoresOf
    embeddings: Tensor | None
    rows: int

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in (self.scores, self.embeddings) if output]

    @property
    def features(self) -> list[Feature]:
        """One for each of `outputs`."""
        scores = [SCORES[self.scores_of]] if self.scores else []
        return [*scores, Feature.EMBEDDINGS] if self.embeddings else scores


class Judge:
    """Raises ModelError, which names the setting to mend, for a served model that does not fit."""

    def __init__(self, name: str, settings: ModelConfig, transform: Transform) -> None:
        self._name, self._settings, self._transform = name, settings, transform

    def fit(self, served: ServedModel) -> Fit:
        self._check_told(served)
        self.sent(served, self._example())
        scores_of = self._scores_of(served)
        scores, is_logits = (self._boxes(served), False) if scores_of == "boxes" else self._scores(served)
        embeddings = self._output(served, "embeddings", self._settings.outputs.embeddings)
        rows = 1 if scores_of == "boxes" else self._settings.batch_size  # as torch gives a detector its images
        if served.batch is not None:
            rows = served.batch if served.is_batch_fixed else min(rows, served.batch)
        if rows > _MAX_ROWS:
            raise self._error("transform", f"the server's model takes {rows} samples at once, and nothing less")
        return Fit(scores, is_logits, scores_of, embeddings, rows)

    def sent(self, served: ServedModel, batch: Batch) -> Inputs:
        """`batch` under the names and in the types that the server takes."""
        if isinstance(batch, dict):
            given = {name: tensor.numpy() for name, tensor in batch.items()}
        else:
            needed = [each for each in served.inputs if not each.is_optional]
            if len(needed) != 1:
                raise self._error("transform", f"the server's model takes {_listed(served.inputs)}, not one tensor")
            given = {needed[0].name: batch.numpy()}
        missing = [each for each in served.inputs if not each.is_optional and each.name not in given]
        if missing:
            raise self._error("modality", f"the server's model takes {_listed(missing)}, which no transform here makes")
        return {each.name: self._cast(each, given[each.name]) for each in served.inputs if each.name in given}

    def error(self, key: str, detail: str) -> ModelError:
        return self._error(key, detail)

    def _example(self) -> Batch:
        return self._transform.to_input([self._transform.example()])

    def _check_told(self, served: ServedModel) -> None:
        """What an exported model says of itself."""
        told = served.parameters
        modality = told.get(names.MODALITY, self._settings.modality)
        if modality != self._settings.modality:
            raise self._error("modality", f"the server's model takes {modality:.20}")
        if told.get(names.TRANSFORM, self._transform.id) != self._transform.id:
            settings = told.get(names.TRANSFORM_SETTINGS, "that of the model it was exported from")
            raise self._error("transform", f"the server's model was exported with another: {settings:.600}")

    def _scores_of(self, served: ServedModel) -> ScoresOf:
        told = served.parameters.get(names.SCORES_OF)
        known: dict[str | None, ScoresOf] = {"labels": "labels", "boxes": "boxes"}
        scores_of = self._settings.scores_of or known.get(told, "classes")
        if told is not None and told != scores_of:
            raise self._error("scores_of", f"the server's model gives scores of {told:.20}")
        return scores_of

    def _cast(self, wanted: Tensor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        shape = array.shape[1:]
        if len(shape) != len(wanted.shape) or any(
            w not in (-1, size) for w, size in zip(wanted.shape, shape, strict=True)
        ):
            raise self._error(
                "transform",
                f"the server's model takes {_size(wanted.shape)} as {wanted.name!r:.80} and the transform gives"
                f" {_size(shape)}",
            )
        if wanted.datatype == "UINT8" and array.dtype.kind == "f":
            return self._pixels(array)
        if wanted.datatype not in _SENT_AS.get(array.dtype.kind, ()):
            raise self._error(
                "transform",
                f"the server's model takes {wanted.datatype} as {wanted.name!r:.80}, the transform gives {array.dtype}",
            )
        return array.astype(_NUMPY[wanted.datatype], copy=False)

    def _pixels(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """A model that takes bytes normalises them itself: it gets the pixels as they were resized and cropped."""
        if self._settings.modality != "vision":
            raise self._error("transform", "the server's model takes UINT8, which is for images")
        settings = self._transform.settings
        mean, std = (np.float32(each).reshape(3, 1, 1) for each in (settings.mean, settings.std))
        pixels: npt.NDArray[np.uint8] = np.rint((array * std + mean) * 255).astype(np.uint8)
        return pixels

    def _boxes(self, served: ServedModel) -> Tensor:
        if found := self._output(served, names.BOX_SCORES, None):
            return found
        raise self._error(
            "scores_of", f"a detector gives {names.BOX_SCORES!r}; the server's model gives {_listed(served.outputs)}"
        )

    def _scores(self, served: ServedModel) -> tuple[Tensor | None, bool]:
        """None of a model that gives embeddings alone."""
        asked = self._settings.outputs
        for word, name in (("probabilities", asked.probabilities), ("logits", asked.logits)):
            if name is not None and (found := self._output(served, word, name)):
                return found, word == "logits"
        for word in ("probabilities", "logits"):
            if found := self._output(served, word, None):
                return found, word == "logits"
        rest = [each for each in served.outputs if each.name not in (asked.embeddings, names.EMBEDDINGS)]
        if not rest and served.outputs:
            return None, False
        if len(rest) != 1:
            raise self._error(
                "outputs", f"say which is probabilities or logits: the server's model gives {_listed(rest)}"
            )
        return self._checked(rest[0], "logits"), self._settings.logits

    def _output(self, served: ServedModel, word: str, name: str | None) -> Tensor | None:
        """By the name that the settings give, else by the word itself if there is one of that name."""
        for each in served.outputs:
            if each.name == (name or word):
                return self._checked(each, word)
        if name is not None:
            raise self._error(
                f"outputs.{word}", f"the server's model has no output {name!r:.80}; it gives {_listed(served.outputs)}"
            )
        return None

    def _checked(self, output: Tensor, word: str) -> Tensor:
        if output.datatype not in _TAKEN:
            raise self._error("outputs", f"the output {output.name!r:.80} holds {output.datatype:.20}, not numbers")
        if word != "embeddings" and len(output.shape) != 1:
            raise self._error(
                "outputs",
                f"the output {output.name!r:.80} is {_size(output.shape)} for a sample; scores are a row of numbers",
            )
        return output

    def _error(self, key: str, detail: str) -> ModelError:
        return ModelError(f"model {self._name!r}: {detail}", field=f"models.{self._name}.{key}")


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{each.name!r:.80} ({each.datatype} {_size(each.shape)})" for each in tensors[:8]) or "nothing"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join("?" if size == -1 else str(size) for size in shape) or "one number"
