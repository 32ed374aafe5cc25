"""A model in memory: one forward pass gives the scores and the head's input of a batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas.jobs import Feature, ModelCard
from alaas_workers.transforms import VisionTransform

ROW_MULTIPLE = 8
"""Batches are padded to a multiple of it. Multiplying matrices of few rows takes other kernels, with other rounding;
from 8 rows on torchvision's classifiers give the same bits whatever the batch and the place in it. (A linear layer of 5
or 7 inputs does not.)"""

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

    def forward(self, batch: torch.Tensor) -> tuple[Any, Any]:
        scores = self.module(batch)
        embedding, self._captured = self._captured, None
        if isinstance(scores, tuple) and len(scores) == 2 and embedding is None:
            scores, embedding = scores  # a program's own way to give both
        return scores, embedding


@dataclass(frozen=True)
class LoadedModel:
    """`module` gives (scores, embedding) of a batch (N, 3, H, W) on `device`, as `transform.to_input` makes it."""

    module: nn.Module
    head: str | None
    settings: ModelConfig
    transform: VisionTransform
    device: torch.device
    is_program: bool
    card: ModelCard

    @property
    def channels_last(self) -> bool:
        return self.settings.channels_last and not self.is_program

    @property
    def batch_size(self) -> int:
        """The configured size, taken down to a multiple of ROW_MULTIPLE from there on."""
        size = self.settings.batch_size
        return size if size < ROW_MULTIPLE else size - size % ROW_MULTIPLE

    @property
    def row_multiple(self) -> int:
        """Rows of a batch are a multiple of it. A program or a compiled module takes batches of one size only."""
        takes_one_size = self.is_program or self.settings.compile
        return self.batch_size if takes_one_size else min(self.batch_size, ROW_MULTIPLE)

    def outputs(self, batch: torch.Tensor) -> dict[Feature, torch.Tensor]:
        """Float32 features (N, width) of a batch, on the device. Raises ModelError when they are not N rows."""
        with torch.inference_mode():
            with self._precision():
                scores, embedding = self.module(batch)
            scores = self._rows(scores, len(batch))
            features = {Feature.PROBABILITIES: torch.softmax(scores, 1) if self.settings.logits else scores}
            if embedding is not None:
                features[Feature.EMBEDDINGS] = self._rows(embedding.flatten(1), len(batch))
        return features

    def copy_to(self, device: torch.device) -> LoadedModel:
        """A copy for another thread, with weights of its own."""
        return replace(self, module=deepcopy(self.module).to(device), device=device)

    def _precision(self) -> AbstractContextManager[Any]:
        dtype = _PRECISIONS.get(self.settings.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext()

    def _rows(self, values: Any, rows: int) -> torch.Tensor:
        if isinstance(values, torch.Tensor) and values.ndim == 2 and len(values) == rows:
            return values.float()
        got = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, torch.Tensor) else type(values).__name__
        raise ModelError(
            f"model {self.card.name!r} gives {got} for {rows} samples; one row of numbers for each is needed",
            field=f"models.{self.card.name}",
        )
