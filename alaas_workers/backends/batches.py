"""How a chunk is cut into batches: of equal input size, and of rows that round alike whatever the chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alaas_workers.backends.protocol import Arrays

Shape = tuple[int, ...]


def cut(shapes: Sequence[Shape], input_shape: Callable[[Shape], Shape], batch_size: int) -> list[list[int]]:
    """Row numbers of each batch, at most `batch_size`, all of one input shape; in order where all are of one.

    `shapes`: of the arrays; `input_shape`: from that to the shape of the model's input.
    """
    rows_by_shape: dict[Shape, list[int]] = {}
    for row, shape in enumerate(shapes):
        rows_by_shape.setdefault(input_shape(shape), []).append(row)
    return [
        rows[start : start + batch_size] for rows in rows_by_shape.values() for start in range(0, len(rows), batch_size)
    ]


def padded(arrays: Arrays, multiple: int) -> Arrays:
    """`arrays` with the last repeated up to a multiple of `multiple`; the caller cuts the results again.

    Done before the batch is made, since joining tensors can change their memory layout, and so the rounding.
    """
    return [*arrays, *[arrays[-1]] * (-len(arrays) % multiple)]
