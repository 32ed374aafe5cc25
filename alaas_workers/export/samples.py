"""Batches to try an export with, and what of their shape may differ from batch to batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from alaas_workers import triton_names as names
from alaas_workers.models.loaded import LoadedModel
from alaas_workers.models.loading import example_batch

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

_SEED = 0
_CHANNELS_FIRST = 3  # dimensions of a row whose first one is no length


def named(batch: Batch) -> list[tuple[str, torch.Tensor]]:
    return list(batch.items()) if isinstance(batch, dict) else [(names.INPUT, batch)]


def outputs_of(model: LoadedModel) -> list[tuple[str, int]]:
    """Names and widths of what the exported model gives."""
    card = model.card
    scores = (names.BOX_SCORES, card.boxes) if model.scores_of == "boxes" else (names.PROBABILITIES, card.classes)
    given = [scores, (names.EMBEDDINGS, card.embedding_size)]
    return [(name, width) for name, width in given if width is not None]


def batch_of(model: LoadedModel, rows: int) -> Batch:
    """Without content, and two numbers long at least: a captured length of one would stay one."""
    batch = example_batch(model, rows)
    if isinstance(batch, dict) and next(iter(batch.values())).shape[1] == 1:
        return {name: tensor.repeat(1, 2) for name, tensor in batch.items()}
    return batch


def noise(batch: Batch, rows: int) -> Batch:
    """`rows` rows like those of the batch; of tokens the same, since made-up ones could be none at all."""
    generator = torch.Generator().manual_seed(_SEED)

    def like(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor[:rows]
        channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return torch.randn(tensor[:rows].shape, generator=generator).contiguous(memory_format=layout)

    return {name: like(tensor) for name, tensor in batch.items()} if isinstance(batch, dict) else like(batch)


def row_shape(model: LoadedModel, tensor: torch.Tensor) -> tuple[int, ...]:
    """Of one row; -1 for a length that differs from sample to sample."""
    row = tuple(tensor.shape[1:])
    if model.transform.input_size is not None and model.card.modality != "text":
        return row
    kept = 1 if len(row) == _CHANNELS_FIRST else 0
    return row[:kept] + (-1,) * (len(row) - kept)
