"""A model in memory: one forward pass gives the scores and the head's input of a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas.jobs import OF_PASSES, SCORES, Feature, ModelCard, ScoresOf
from alaas_workers.models.deep_fool import boundary_distances
from alaas_workers.models.dropout import Masks, Passes
from alaas_workers.transforms import Transform

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

ROW_MULTIPLE = 8
"""Batches are padded to a multiple of it. Multiplying matrices of few rows takes other kernels, with other rounding;
from 8 rows on torchvision's classifiers give the same bits whatever the batch and the place in it. (A linear layer of 5
or 7 inputs does not.)"""

PLAIN = (*SCORES.values(), Feature.EMBEDDINGS)
"""What one forward pass gives: the scores, of which a model has one kind, and the embedding at once."""


def rows_in(batch: Batch) -> int:
    return len(next(iter(batch.values()))) if isinstance(batch, dict) else len(batch)


def floats_of(batch: Batch) -> torch.Tensor | None:
    """The one tensor of numbers that can be moved a little, such as pixels or a waveform; None: there are tokens."""
    floats = [each for each in (batch.values() if isinstance(batch, dict) else [batch]) if each.is_floating_point()]
    return floats[0] if len(floats) == 1 else None


def with_floats(batch: Batch, floats: torch.Tensor) -> Batch:
    """`batch` with `floats` in the place of its own; what else it holds, such as a mask, stays."""
    if not isinstance(batch, dict):
        return floats
    return {name: floats if each.is_floating_point() else each for name, each in batch.items()}


_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class WithEmbedding(nn.Module):
    """Calls `module` and returns (scores, embedding): what its head got as input in the same pass, or None.

    Not for two threads at once: each copy of a model has its own thread.
    """

    def __init__(self, module: nn.Module, head: str | None) -> None:
        super().__init__()
        self.module = module
        self._captured: torch.Tensor | None = None
        self._hook = module.get_submodule(head).register_forward_pre_hook(self._capture) if head else None

    def forget_head(self) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _capture(self, _head: nn.Module, args: tuple[Any, ...]) -> None:
        self._captured = args[0] if args else None

    def forward(self, batch: Batch) -> tuple[Any, Any]:
        scores = self.module(**batch) if isinstance(batch, dict) else self.module(batch)
        embedding, self._captured = self._captured, None
        if isinstance(scores, tuple) and len(scores) == 2 and embedding is None:
            scores, embedding = scores  # a program's own way to give both
        return scores, embedding


@dataclass(frozen=True)
class LoadedModel:
    """`module` gives (scores, embedding) of a batch on `device`, as `transform.to_input` makes it.

    `eager` is the same before it was compiled, if it was: hooks and gradients need its layers. `masks` are of `eager`.
    """

    module: nn.Module
    eager: nn.Module
    masks: Masks
    head: str | None
    settings: ModelConfig
    scores_of: ScoresOf
    transform: Transform
    device: torch.device
    is_program: bool
    card: ModelCard

    @property
    def channels_last(self) -> bool:
        return self.settings.channels_last and not self.is_program

    @property
    def batch_size(self) -> int:
        """The configured size, taken down to a multiple of ROW_MULTIPLE from there on. A detector takes one image: how
        many boxes its neighbours have would decide how its own are rounded.
        """
        size = 1 if self.scores_of == "boxes" else self.settings.batch_size
        return size if size < ROW_MULTIPLE else size - size % ROW_MULTIPLE

    @property
    def row_multiple(self) -> int:
        """Rows of a batch are a multiple of it. A program or a compiled module takes batches of one size only."""
        takes_one_size = self.is_program or self.settings.compile
        return self.batch_size if takes_one_size else min(self.batch_size, ROW_MULTIPLE)

    def outputs(
        self, batch: Batch, wanted: Collection[Feature] = PLAIN, progress: Callable[[], None] = lambda: None
    ) -> dict[Feature, torch.Tensor]:
        """Float32 features (N, width) of a batch, on the device; nothing is run for what is not `wanted`.

        `progress` is called after each pass and each step of what takes long. Raises ModelError when the model's
        outputs are not N rows.
        """
        features: dict[Feature, torch.Tensor] = {}
        if any(feature in wanted for feature in PLAIN):
            features |= self._plain(batch)
        if not OF_PASSES.isdisjoint(wanted):
            features |= self._passes(batch, OF_PASSES.intersection(wanted), progress)
        if Feature.BOUNDARY_DISTANCES in wanted and (point := floats_of(batch)) is not None:
            features[Feature.BOUNDARY_DISTANCES] = boundary_distances(
                lambda moved: self.logits(with_floats(batch, moved)), point, progress
            )
        return features

    def stochastic(self, batch: Batch, number: int) -> torch.Tensor:
        """(N, C) probabilities of the pass `number`: with dropout, all else as in eval."""
        with torch.inference_mode(), self.masks.of_pass(number):
            with self._precision():
                scores, _ = self.eager(batch)
            return self.probabilities(self._rows(scores, rows_in(batch)))

    def copy_to(self, device: torch.device) -> LoadedModel:
        """A copy for another thread, with weights of its own."""
        module = deepcopy(self.eager).to(device)
        return replace(self, module=module, eager=module, masks=Masks(module), device=device)

    def _plain(self, batch: Batch) -> dict[Feature, torch.Tensor]:
        with torch.inference_mode():
            with self._precision():
                scores, embedding = self.module(batch)
            features = {}
            if scores is not None or embedding is None:  # (None, embedding) is the way of what embeds and no more
                features[SCORES[self.scores_of]] = self.probabilities(self._rows(scores, rows_in(batch)))
            if embedding is not None:
                features[Feature.EMBEDDINGS] = self._rows(embedding.flatten(1), rows_in(batch))
        return features

    def _passes(
        self, batch: Batch, wanted: frozenset[Feature], progress: Callable[[], None]
    ) -> dict[Feature, torch.Tensor]:
        passes = Passes(wanted)
        with torch.inference_mode():
            for number in range(self.settings.passes):
                passes.add(self.stochastic(batch, number))
                progress()
            return passes.features()

    def logits(self, batch: Batch) -> torch.Tensor:
        """In float32 whatever the precision: small differences of scores are what boundaries are found by."""
        scores, _ = self.eager(batch)
        rows = self._rows(scores, rows_in(batch))
        return rows if self.settings.logits else rows.clamp_min(torch.finfo(torch.float32).tiny).log()

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        if not self.settings.logits or self.scores_of == "boxes":
            return scores
        return torch.softmax(scores, 1) if self.scores_of == "classes" else _sigmoid(scores)

    def _precision(self) -> AbstractContextManager[Any]:
        dtype = _PRECISIONS.get(self.settings.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext()

    def _rows(self, values: Any, rows: int) -> torch.Tensor:
        if isinstance(values, torch.Tensor) and values.ndim == 2 and len(values) == rows:
            return values.float()
        got = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, torch.Tensor) else type(values).__name__
        hint = " (of a detector's boxes: with scores_of: boxes)" if isinstance(values, list) else ""
        raise ModelError(
            f"model {self.card.name!r} gives {got} for {rows} samples; one row of numbers for each is needed{hint}",
            field=f"models.{self.card.name}",
        )


def _sigmoid(logits: torch.Tensor) -> torch.Tensor:
    """As the softmax of [z, 0]: torch's own sigmoid rounds a value by its place in the tensor, in vectors or alone."""
    return torch.softmax(torch.stack([logits, torch.zeros_like(logits)], 2), 2)[..., 0]
