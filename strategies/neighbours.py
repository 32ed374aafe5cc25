"""The nearest of many points for each of many rows: screened by BLAS a block at a time, decided by exact distances.

BLAS adds up in an order of its own, so a product only bounds a distance from below (as in k_center.py, where the bound
is explained); what comes back is the same to the last bit whatever BLAS, its threads and the blocks did.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from strategies.blocks import row_blocks, score_rows
from strategies.distances import Rows, Squares, largest_magnitude
from strategies.products import all_products
from strategies.ranking import Indices

_ROWS, _POINTS = 512, 2048  # of one product: 4 MiB of float32
_FEW = 4  # exact distances for each row, above which another screen costs less
_LARGE = 2.0**50  # magnitudes of which float32 products may overflow; what vanishes there is screened again
_FAR = float(np.finfo(np.float64).max)


def nearest(
    rows: Rows,
    points: Rows,
    *,
    only: Indices | None = None,
    before: Indices | None = None,
    within: float = np.inf,
) -> tuple[Indices, Squares]:
    """For each row the number of its nearest of `points` (A, d), the first of equals, and the squared distance.

    `rows` (N, d), or those in `only` (M,). `before` (N,) or (M,): the row looks at the points with a smaller number.
    `within`: only points nearer than that count. Where none does: -1 and Inf. Time O(N A d), memory a block.
    """
    count = len(rows) if only is None else len(only)
    found, squares = np.full(count, -1, dtype=np.int64), np.full(count, np.inf)
    limit = min(within * within, _FAR)
    kind = _kind(rows, points)
    norms = _norms(points)
    for block in _slices(count, _ROWS):
        part = rows[block if only is None else only[block]]
        search = _Search(part, kind, None if before is None else before[block], limit)
        for place in _slices(len(points), _POINTS):
            search.look(points[place], norms[place], place.start)
        found[block] = search.found
        squares[block] = np.where(search.found < 0, np.inf, search.squares)
    return found, squares


def firsts_of_equals(points: Rows) -> Indices:
    """The numbers of the points (A, d) that equal none before them, byte by byte."""
    seen: dict[bytes, int] = {}
    for number, point in enumerate(points):
        seen.setdefault(blake2b(point.tobytes(), digest_size=16).digest(), number)
    return np.fromiter(seen.values(), dtype=np.int64, count=len(seen))


def near_pairs(rows: Rows, within: float) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of `rows` (M, d) that are nearer than `within`. For a block of rows: memory O(M^2)."""
    wide = rows.astype(_kind(rows, rows), order="C", copy=False)
    norms = _norms(rows)
    least = np.triu(_least(wide, norms, wide, norms) < np.float64(within) ** 2, k=1)
    left, right = np.nonzero(least)
    is_near = pair_squares(rows, rows, left, right) < within * within
    return list(zip(left[is_near].tolist(), right[is_near].tolist(), strict=True))


def pair_squares(ones: Rows, others: Rows, left: Indices, right: Indices) -> Squares:
    """(P,) squared distances of `ones[left]` to `others[right]`, each as `squared_distances` has it."""
    squares = np.empty(len(left))
    for block in row_blocks(ones, len(left)):
        differences = ones[left[block]].astype(np.float64, order="C")
        differences -= others[right[block]]
        differences *= differences
        squares[block] = differences.sum(axis=1)
    return squares


class _Search:
    """The nearest point so far of a block of rows; `squares` starts as what a point must stay below."""

    def __init__(self, rows: Rows, kind: type[np.floating], before: Indices | None, limit: float) -> None:
        self._rows, self._before = rows, before
        self._wide = rows.astype(kind, order="C", copy=False)
        self._norms = _norms(rows)
        self._everyone = np.arange(len(rows))
        self.found = np.full(len(rows), -1, dtype=np.int64)
        self.squares = np.full(len(rows), limit)

    def look(self, points: Rows, norms: Squares, start: int) -> None:
        """Points `start` and on; `norms` are their squared lengths."""
        least = _least(self._wide, self._norms, points.astype(self._wide.dtype, order="C", copy=False), norms)
        if self._before is not None:
            least[np.arange(start, start + len(points)) >= self._before[:, None]] = np.inf
        likely = least.argmin(axis=1)
        self._settle(np.flatnonzero(least[self._everyone, likely] <= self._bar()), likely, points, start)
        least[self._everyone, likely] = np.inf
        left, right = np.nonzero(least <= self._bar()[:, None])
        if len(left) > _FEW * len(self._rows):
            left, right = self._screened_again(left, right, points)
        self._compare(left, right, points, start)

    def _bar(self) -> Rows:
        """`squares` rounded up to the precision of the bounds: a comparison of unlike precisions is slow."""
        largest = np.finfo(self._wide.dtype).max
        bar: Rows = np.nextafter(np.minimum(self.squares, largest).astype(self._wide.dtype), largest)
        return bar

    def _settle(self, rows: Indices, likely: Indices, points: Rows, start: int) -> None:
        self._compare(rows, likely[rows], points, start)

    def _screened_again(self, left: Indices, right: Indices, points: Rows) -> tuple[Indices, Indices]:
        """In float64, seen from one of the points: near-duplicates far from 0 differ there."""
        rows, others = self._rows.astype(np.float64) - points[0], points.astype(np.float64) - points[0]
        least = _least(rows, _norms(rows), others, _norms(others))
        may_be = least[left, right] <= self.squares[left]
        return left[may_be], right[may_be]

    def _compare(self, left: Indices, right: Indices, points: Rows, start: int) -> None:
        squares = pair_squares(self._rows, points, left, right)
        order = np.lexsort((right, squares, left))
        order = order[np.flatnonzero(np.diff(left[order], prepend=-1))]  # the best of each row
        rows, squares, numbers = left[order], squares[order], right[order] + start
        is_better = squares < self.squares[rows]
        is_better |= (squares == self.squares[rows]) & (numbers < self.found[rows])
        rows = rows[is_better]
        self.found[rows], self.squares[rows] = numbers[is_better], squares[is_better]


def _least(rows: Rows, norms: Squares, points: Rows, point_norms: Squares) -> Rows:
    """(M, A) lower bounds of the squared distances, in the precision of `rows`."""
    precision = np.finfo(rows.dtype)
    terms = rows.shape[1] + 128
    share, tiny = 1.0 - terms * float(precision.eps), terms * float(precision.tiny)
    least = all_products(rows, points)
    least *= -2
    least += (norms * share - tiny).astype(rows.dtype)[:, None]
    least += (point_norms * share).astype(rows.dtype)
    return least


def _norms(rows: Rows) -> Squares:
    return score_rows(lambda block: np.square(block, out=block).sum(axis=1), rows)


def _kind(rows: Rows, points: Rows) -> type[np.floating]:
    largest = max(largest_magnitude(rows), largest_magnitude(points))
    kind = np.result_type(rows.dtype, points.dtype, np.float32)
    return np.float64 if largest >= _LARGE or kind != np.float32 else np.float32


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
