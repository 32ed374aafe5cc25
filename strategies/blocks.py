"""Arrays a block of rows at a time: temporaries stay in the processor's cache and memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 2**17  # of float64: 1 MiB, about a core's share of cache


def row_blocks(array: NDArray[Any], count: int | None = None) -> Iterator[slice]:
    """Slices over `count` rows (default: all) as wide as those of `array`, in order, about BLOCK_VALUES values each."""
    return blocks_of(len(array) if count is None else count, array[:1].size)


def blocks_of(count: int, width: int) -> Iterator[slice]:
    """Slices over `count` rows of `width` values, in order, about BLOCK_VALUES values each."""
    step = max(1, BLOCK_VALUES // max(1, width))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def score_rows(
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    array: NDArray[np.floating[Any]],
    only: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """`score` of the rows of `array` (N, ...), or of those in `only` (M,), in float64, as (N,) or (M,).

    `score` gets blocks of its own, in C order: NumPy then adds up every row alone and in one order of its values, so
    that a row's score is the same to the last bit wherever the row stands and however the input is laid out.
    """
    scores = np.empty(len(array) if only is None else len(only))
    for block in row_blocks(array, len(scores)):
        rows = array[block if only is None else only[block]]
        scores[block] = score(rows.astype(np.float64, order="C"))
    return scores
