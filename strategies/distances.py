"""Distances between rows that are the same to the last bit wherever a row stands, and a mean that no order changes.

BLAS adds up a product in an order that depends on the row's position, the number of threads and the processor, so its
results may only screen (see k_center.py); whatever decides a rank comes from here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.blocks import row_blocks, score_rows

Rows = NDArray[np.floating[Any]]
Squares = NDArray[np.float64]


def squared_distances(rows: Rows, point: Rows, only: NDArray[np.int64] | None = None) -> Squares:
    """(N,) float64 from `rows` (N, d), or those in `only` (M,), to `point` (d,), as a sum of squared differences.

    Never below 0, and exactly 0 for equal rows; |x|^2 + |c|^2 - 2xc would leave noise there, and NaN after the root.
    """
    centre = point.astype(np.float64)

    def from_centre(block: NDArray[np.float64]) -> Squares:
        block -= centre
        block *= block
        squares: Squares = block.sum(axis=1)
        return squares

    return score_rows(from_centre, rows, only)


def exact_mean(rows: Rows) -> NDArray[np.float64]:
    """(d,) mean of `rows` (N, d), N >= 1, the same for every order of the rows: sums of whole numbers do not round.

    Values are rounded to a grid so fine that their sum just fits 63 bits: no coarser than a float64 sum's own error.
    """
    bits = 62 - math.ceil(math.log2(len(rows))) - math.frexp(largest_magnitude(rows))[1]
    scale = np.float64(math.ldexp(1.0, min(bits, 1000)))
    total = np.zeros(rows.shape[1], dtype=np.int64)
    for block in row_blocks(rows):
        total += np.rint(rows[block] * scale).astype(np.int64).sum(axis=0)
    mean: NDArray[np.float64] = total / scale / len(rows)
    return mean


def largest_magnitude(rows: Rows) -> float:
    """The largest |value|; 0.0 where there are no rows."""
    return max((float(np.abs(rows[block]).max()) for block in row_blocks(rows)), default=0.0)
