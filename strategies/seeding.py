"""k-means++ seeding: draw rows one by one, each by its squared distance to the nearest drawn so far.

Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding". The rows are outer products that are
never formed, as BADGE needs them (badge.py); with one factor of ones they are plain rows (clustering.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.blocks import blocks_of, row_blocks
from strategies.distances import Rows
from strategies.products import all_products
from strategies.ranking import Indices

Factor = NDArray[np.float64]
Squares = NDArray[np.float64]

_LEAST_WAITING, _MOST_WAITING = 1, 256
_PATIENCE = 64  # draws in vain, after which bringing all distances up to date costs less


class OuterProducts:
    """N rows a (x) h in C d dimensions, kept as their factors a (N, C) and h (N, d).

    `left` makes a from a slice or from indices, in float64, as new rows in C order. Distances are in float64 by
    |a (x) h - a' (x) h'|^2 = |a|^2 |h|^2 + |a'|^2 |h'|^2 - 2 (a a') (h h'), every sum over one row alone and in one
    order: so they are the same wherever a row stands, and exactly 0 between equal rows, where the terms are equal.
    """

    def __init__(self, right: Rows, left: Callable[[Any], Factor] | None = None) -> None:
        self._right = right
        self._left = left or (lambda only: np.ones((len(right[only]), 1)))
        self.left_size = self.factors(slice(0, 1))[0].shape[1]
        self.right_size = right.shape[1]
        self.squares = np.concatenate([_squares(*self.factors(block)) for block in row_blocks(right)])

    def __len__(self) -> int:
        return len(self._right)

    def factors(self, only: slice | Indices) -> tuple[Factor, Factor]:
        return self._left(only), self._right[only].astype(np.float64, order="C")


def plus_plus(
    rows: OuterProducts, order: Indices, rng: np.random.Generator, weights: Squares | None = None
) -> Iterator[tuple[int, float]]:
    """Draws rows without end until no row is left at a distance: yields each with its squared distance when drawn.

    A row is drawn with the chance weight * squared distance to the nearest drawn; the first by its weight alone, and
    yielded with its squared length. `order` (N,): all rows in the order in which numbers are dealt to them. `weights`
    (N,): at least 0, not all 0; by default equal. The same to the last bit whatever BLAS and its threads do, and for
    every order of the rows if `order` goes with them. b draws take O(N b (C + d)) time, almost all of it in matrix
    products, and O(N) memory and a bounded block beside the factors. The products are small: let the caller limit BLAS
    to one thread, since threads that wait for each other take the most time.
    """
    draws = _Draws(rows, order, np.ones(len(rows)) if weights is None else weights, rng)
    while (drawn := draws.draw()) is not None:
        yield drawn


class _Draws:
    """Draws by distances that are out of date, and thins the draws out by true ones.

    Distances only fall while rows are drawn. So a row is drawn by its distance as last known, and kept with the chance
    true / known: what is kept is distributed exactly as if all distances had been brought up to date at each step.
    Those of all rows are, by matrix products, when enough draws wait, and not by a pass over memory for each draw.
    """

    def __init__(self, rows: OuterProducts, order: Indices, weights: Squares, rng: np.random.Generator) -> None:
        self._rows, self._order, self._weights, self._rng = rows, order, weights, rng
        self._known = np.full(len(rows), np.inf)
        self._waiting = _Waiting(rows)
        self._drawn = self._vain = 0
        self._sums = np.cumsum(weights[order])

    def draw(self) -> tuple[int, float] | None:
        """A row that is not drawn again, and its squared distance (the first: length); None where none is left."""
        if not self._drawn:
            row = self._proposed()
            return self._kept(row, float(self._rows.squares[row]))
        while True:
            if self._waiting.count >= self._most_waiting() or self._vain >= _PATIENCE:
                self._bring_up_to_date()
            if not self._sums[-1] > 0:
                return None
            row = self._proposed()
            square = min(float(self._known[row]), self._waiting.square(row))
            if self._rng.random() * self._known[row] < square:
                return self._kept(row, square)
            self._vain += 1

    def _most_waiting(self) -> int:
        """One draw in nine lowers few distances by much: most draws are kept."""
        return min(max(_LEAST_WAITING, self._drawn // 8), _MOST_WAITING)

    def _proposed(self) -> int:
        place = int(np.searchsorted(self._sums, self._rng.random() * self._sums[-1], side="right"))
        # A product with a number just below 1 may round up to the sum itself, which is first reached at a row's place.
        return int(self._order[min(place, int(np.searchsorted(self._sums, self._sums[-1])))])

    def _kept(self, row: int, square: float) -> tuple[int, float]:
        self._waiting.add(row)
        self._drawn += 1
        return row, square

    def _bring_up_to_date(self) -> None:
        self._waiting.lower(self._known)
        self._waiting.count = self._vain = 0
        self._sums = np.cumsum((self._known * self._weights)[self._order])


class _Waiting:
    """Rows that were drawn, and that the known distances do not take into account yet."""

    def __init__(self, rows: OuterProducts) -> None:
        self._rows = rows
        self._left = np.empty((_MOST_WAITING, rows.left_size))
        self._right = np.empty((_MOST_WAITING, rows.right_size))
        self._squares = np.empty(_MOST_WAITING)
        self.count = 0

    def add(self, row: int) -> None:
        left, right = self._rows.factors(slice(row, row + 1))
        self._left[self.count], self._right[self.count] = left[0], right[0]
        self._squares[self.count] = self._rows.squares[row]
        self.count += 1

    def square(self, row: int) -> float:
        """The squared distance of `row` to the nearest."""
        if not self.count:
            return np.inf
        left, right = self._rows.factors(slice(row, row + 1))
        among = slice(0, self.count)
        sums = self._rows.squares[row] + self._squares[among]
        return float(_distances(sums, self._left[among] * left, self._right[among] * right).min())

    def lower(self, known: Squares) -> None:
        """Lower `known` (N,) to the distances to the nearest, where those are less. A block of rows at a time."""
        width = max(self._rows.left_size, self._rows.right_size, self.count)
        for block in blocks_of(len(known), width):
            left, right = self._rows.factors(block)
            ones, others = self._nearer(block, left, right, known[block])
            for part in row_blocks(right, len(ones)):
                one, other = ones[part], others[part]
                sums = self._rows.squares[block][one] + self._squares[other]
                exact = _distances(sums, left[one] * self._left[other], right[one] * self._right[other])
                np.minimum.at(known[block], one, exact)

    def _nearer(self, block: slice, left: Factor, right: Factor, known: Squares) -> tuple[Indices, Indices]:
        """The pairs (row of the block, waiting row) that may be the nearest, and nearer than known.

        Matrix products screen all pairs. Each is off by at most about C or d halves of an eps times |a||a'| or |h||h'|,
        and their product by the sum of both; 128 more bound the other steps, here and in the exact distances.
        """
        sums = self._rows.squares[block, None] + self._squares[: self.count]
        products = all_products(left, self._left[: self.count])
        products *= all_products(right, self._right[: self.count])
        precision = np.finfo(np.float64)
        terms = self._rows.left_size + self._rows.right_size + 128
        error = sums * (terms * float(precision.eps)) + terms * float(precision.tiny)
        least = sums - 2.0 * products - error
        most = (least + 2.0 * error).min(axis=1)
        ones, others = np.nonzero((least < known[:, None]) & (least <= most[:, None]) & (known[:, None] > 0))
        return ones, others


def _squares(left: Factor, right: Factor) -> Squares:
    squares: Squares = (left * left).sum(axis=1) * (right * right).sum(axis=1)
    return squares


def _distances(sums: Squares, left: Factor, right: Factor) -> Squares:
    """Squared distances of pairs, of the sums of their squared lengths and their factors' products value by value."""
    squares: Squares = np.maximum(sums - 2.0 * (left.sum(axis=1) * right.sum(axis=1)), 0.0)
    return squares
