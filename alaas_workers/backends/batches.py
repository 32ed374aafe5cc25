"""How a chunk is cut into batches: of equal input size, and of rows that round alike whatever the chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alaas_workers.backends.protocol import Arrays

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


def padded(arrays: Arrays, multiple: int) -> Arrays:
    """`arrays` with the last repeated up to a multiple of `multiple`; the caller cuts the results again.

    Done before the batch is made, since joining tensors can change their memory layout, and so the rounding.
    """
    return [*arrays, *[arrays[-1]] * (-len(arrays) % multiple)]
