"""Which rows lie within a radius of which points: a block at a time, screened by BLAS, decided by exact distances.

Rows are seen from their mean, where BLAS rounds least. Its products bound a distance from both sides; what the bounds
leave open is computed, so that the answer is the same to the last bit whatever BLAS, its threads and the blocks did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.blocks import row_blocks
from strategies.distances import Rows, Squares, exact_mean, largest_magnitude
from strategies.neighbours import pair_squares
from strategies.products import all_products
from strategies.ranking import Indices

_SIDE = 512  # of the square of one product: 1 MiB of float32
_LARGEST = float(np.finfo(np.float32).max)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Seen:
    """Points as float32, from the mean and scaled to at most 1, and the squares of their lengths."""

    values: Floats
    norms: Squares

    def part(self, block: slice) -> _Seen:
        return _Seen(self.values[block], self.norms[block])


class Balls:
    """Finds which of `rows` (N, d) are near points. Keeps a float32 copy; M points take O(M N d) time and a block."""

    def __init__(self, rows: Rows, *others: Rows) -> None:
        """`others`: arrays that points will come from, beside `rows`."""
        self._rows = rows
        self._centre = exact_mean(rows)
        largest = max(largest_magnitude(part) for part in (rows, *others))
        self._exponent = max(-400, math.frexp(largest)[1] + 1)  # of a power of 2 that no centred value is above
        self._seen = self._from_centre(rows)
        # The error of a product of d terms, and of what surrounds it, in shares of |x|^2 + |c|^2: see k_center.py.
        precision = np.finfo(np.float32)
        self._share = (rows.shape[1] + 128) * float(precision.eps)
        self._tiny = (rows.shape[1] + 128) * float(precision.tiny)

    def pairs(self, points: Rows, square: float) -> Iterator[tuple[Indices, Indices]]:
        """Numbers of points and of rows whose squared distance is at most `square`: all, at most 2**18 at a time."""
        for left in _sides(len(points)):
            seen = self._from_centre(points[left])
            for right in _sides(len(self._rows)):
                ones, twos = self._within(points[left], seen, right, square)
                yield ones + left.start, twos + right.start

    def nearest_unlike(self, points: Rows, kinds: Indices, row_kinds: Indices) -> Squares:
        """(M,) squared distances of each point to the nearest row of another kind; Inf where there is none."""
        nearest = np.full(len(points), np.inf)
        for left in _sides(len(points)):
            seen = self._from_centre(points[left])
            for right in _sides(len(self._rows)):
                least = self._least(seen, self._seen.part(right))
                least[kinds[left, None] == row_kinds[right]] = np.inf
                self._lower(nearest[left], least, points[left], self._rows[right])
        return nearest

    def _within(self, points: Rows, seen: _Seen, right: slice, square: float) -> tuple[Indices, Indices]:
        others = self._seen.part(right)
        least = self._least(seen, others)
        ones, twos = _true(least <= self._bar(square))
        most = least[ones, twos] + 2 * self._tiny + 2 * self._share * (seen.norms[ones] + others.norms[twos])
        open_pairs = np.flatnonzero(most > math.ldexp(square, -2 * self._exponent))
        squares = pair_squares(points, self._rows[right], ones[open_pairs], twos[open_pairs])
        is_near = np.ones(len(ones), dtype=np.bool_)
        is_near[open_pairs] = squares <= square
        return ones[is_near], twos[is_near]

    def _lower(self, nearest: Squares, least: Floats, points: Rows, rows: Rows) -> None:
        """Lower `nearest` (M,) to the exact distances of the pairs that `least` (M, K) does not rule out."""
        likely = least.argmin(axis=1)
        ones = np.flatnonzero(np.isfinite(least[np.arange(len(least)), likely]))
        np.minimum.at(nearest, ones, pair_squares(points, rows, ones, likely[ones]))
        ones, twos = _true((least <= self._bar(nearest)[:, None]) & np.isfinite(least))
        np.minimum.at(nearest, ones, pair_squares(points, rows, ones, twos))

    def _least(self, seen: _Seen, others: _Seen) -> Floats:
        """(M, K) lower bounds of the scaled squared distances."""
        least: Floats = all_products(seen.values, others.values)
        least *= -2
        least += (seen.norms * (1 - self._share) - self._tiny).astype(np.float32)[:, None]
        least += (others.norms * (1 - self._share)).astype(np.float32)
        return least

    def _bar(self, squares: float | Squares) -> Floats:
        """`squares` scaled as the bounds are, and rounded up to their precision."""
        scaled = np.minimum(np.ldexp(squares, -2 * self._exponent), _LARGEST).astype(np.float32)
        bar: Floats = np.nextafter(scaled, np.float32(_LARGEST))
        return bar

    def _from_centre(self, rows: Rows) -> _Seen:
        values, norms = np.empty(rows.shape, dtype=np.float32), np.empty(len(rows))
        for block in row_blocks(rows):
            centred = np.ldexp(rows[block].astype(np.float64, order="C") - self._centre, -self._exponent)
            values[block] = centred
            norms[block] = np.square(centred, out=centred).sum(axis=1)
        return _Seen(values, norms)


def _true(mask: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """As np.nonzero of two dimensions, several times as fast where few are true."""
    ones, twos = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return ones, twos


def _sides(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _SIDE, count)) for start in range(0, count, _SIDE))
