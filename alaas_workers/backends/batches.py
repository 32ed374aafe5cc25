"""How a chunk is cut into batches: of equal input size, and of rows that round alike whatever the chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]


def cut(shapes: Sequence[tuple[int, ...]], input_size: Callable[[int, int], Size], batch_size: int) -> list[list[int]]:
    """Row numbers of each batch, at most `batch_size`, all of one input size; in order where all are of one.

    `shapes`: (3, h, w) of the arrays; `input_size`: (h, w) to that of the model's input.
    """
    rows_by_size: dict[Size, list[int]] = {}
    for row, (_, height, width) in enumerate(shapes):
        rows_by_size.setdefault(input_size(height, width), []).append(row)
    return [
        rows[start : start + batch_size] for rows in rows_by_size.values() for start in range(0, len(rows), batch_size)
    ]


def padded(batch: torch.Tensor, multiple: int) -> torch.Tensor:
    """`batch` with its last row repeated up to a multiple of `multiple` rows; the caller cuts the results again."""
    import torch

    missing = -len(batch) % multiple
    if not missing:
        return batch
    return torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
