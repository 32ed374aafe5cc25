"""The least radius at which a few centres cover all rows but some outliers: bisection over the distances that occur.

Algorithm 2 of Sener and Savarese 2018 ("a core-set approach"). Whether a radius is enough is a set cover problem: a
greedy cover answers where it can, SciPy's HiGHS, a mixed-integer solver, where it cannot.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack
from scipy.spatial.distance import cdist

from strategies.blocks import blocks_of
from strategies.distances import Rows
from strategies.ranking import Indices

logger = logging.getLogger(__name__)
Squares = NDArray[np.float64]


class Reach:
    """All pairs of `rows` (N, d) as near as the radius that `centres` leave, and what is `labelled` (L, d) near them.

    `outliers`: how many rows a radius may leave out. Memory: 24 bytes for each such pair and its mirror, N^2 at worst.
    """

    def __init__(self, rows: Rows, labelled: Rows, centres: Indices, outliers: int) -> None:
        self.outliers = outliers
        values = rows.astype(np.float64, order="C")
        self._labelled = _nearest(values, labelled)
        self.largest = self._left_by(np.minimum(self._labelled, _nearest(values, rows[centres])))
        found = [_pairs(values, block, self.largest) for block in blocks_of(len(values), max(values.shape))]
        self._rows, self._others, self.squares = (np.concatenate(parts) for parts in zip(*found, strict=True))

    def radii(self, least: float) -> Squares:
        """All squared radii that can be the best one, rising: from `least` to what the centres leave."""
        known = np.unique(np.concatenate([self.squares, self._labelled[self._labelled <= self.largest], [0.0]]))
        return known[known >= least * least * (1 - 1e-9)]  # the bound was rounded

    def covers(self, square: float) -> csr_array:
        """(rows that no labelled one covers, N): 1 where the column is a centre that covers the row."""
        open_rows = self._labelled > square
        kept = (self.squares <= square) & open_rows[self._rows]
        numbers = np.cumsum(open_rows) - 1
        shape = (int(open_rows.sum()), len(open_rows))
        return csr_array((np.ones(int(kept.sum())), (numbers[self._rows[kept]], self._others[kept])), shape=shape)

    def left_by(self, centres: Indices) -> float:
        """The squared radius that `centres` need; they must not need more than the first ones did."""
        is_centre = np.zeros(len(self._labelled), dtype=np.bool_)
        is_centre[centres] = True
        kept = is_centre[self._others]
        nearest = self._labelled.copy()
        np.minimum.at(nearest, self._rows[kept], self.squares[kept])
        return self._left_by(nearest)

    def _left_by(self, nearest: Squares) -> float:
        place = len(nearest) - 1 - self.outliers
        return float(np.partition(nearest, place)[place])


@dataclass
class Solver:
    """Looks for at most `count` centres, with limits that no clock sets: the same problem gives the same answer.

    `node_limit`: of branch and bound for one model. `entries`: non-zeros of the models that may yet be solved.
    """

    count: int
    node_limit: int
    entries: int

    def centres(self, covers: csr_array, outliers: int) -> Indices | None:
        """Columns that cover all rows but `outliers`; None if there are none or the limits came first."""
        found = greedy_cover(covers, self.count, outliers)
        if found is not None or covers.nnz > self.entries:
            self.entries = self.entries if found is not None else 0
            return found
        self.entries -= covers.nnz
        return self._solved(covers, outliers)

    def _solved(self, covers: csr_array, outliers: int) -> Indices | None:
        left_out = eye_array(covers.shape[0], format="csr") if outliers else csr_array((covers.shape[0], 0))
        columns, extra = covers.shape[1], left_out.shape[1]
        is_centre = np.repeat([1.0, 0.0], [columns, extra])
        constraints = [
            LinearConstraint(hstack([covers, left_out], format="csr"), 1, np.inf),
            LinearConstraint(is_centre[None], 0, self.count),
            LinearConstraint(1 - is_centre[None], 0, outliers),
        ]
        options = {"node_limit": self.node_limit}
        answer = milp(
            0 * is_centre, integrality=is_centre, bounds=Bounds(0, 1), constraints=constraints, options=options
        )
        return None if answer.x is None else np.flatnonzero(answer.x[:columns] > 0.5)


def least_radius(reach: Reach, solver: Solver, centres: Indices, least: float) -> Indices:
    """The best centres found; `centres` if none are better. `least`: a radius that no centres can be below."""
    radii = reach.radii(least)
    low, high = 0, int(np.searchsorted(radii, reach.left_by(centres)))  # high is reached, below low nothing is
    while low < high:
        middle = (low + high) // 2
        found = solver.centres(reach.covers(radii[middle]), reach.outliers)
        reached = np.inf if found is None else reach.left_by(found)
        if found is None or reached > radii[middle]:  # a solver's tolerances could let a row slip through
            low = middle + 1
        else:
            centres, high = found, int(np.searchsorted(radii, reached))
    logger.debug("CoreSet: radius %g, greedy %g", radii[high] ** 0.5, reach.largest**0.5)
    return centres


def greedy_cover(covers: csr_array, count: int, outliers: int) -> Indices | None:
    """At most `count` columns, each the one that covers most rows yet open, until `outliers` rows are; None if not."""
    by_column = covers.tocsc()
    gains = np.diff(by_column.indptr)
    is_open = np.ones(covers.shape[0], dtype=np.bool_)
    chosen: list[int] = []
    while int(is_open.sum()) > outliers and len(chosen) < count:
        chosen.append(int(gains.argmax()))
        touched = by_column.indices[by_column.indptr[chosen[-1]] : by_column.indptr[chosen[-1] + 1]]
        newly = touched[is_open[touched]]
        is_open[newly] = False
        gains = gains - np.bincount(covers[newly].indices, minlength=len(gains))
    return np.array(chosen, dtype=np.int64) if int(is_open.sum()) <= outliers else None


def _nearest(values: Squares, others: Rows) -> Squares:
    nearest = np.full(len(values), np.inf)
    for block in blocks_of(len(others), max(values.shape)):
        squares = cdist(values, others[block].astype(np.float64, order="C"), "sqeuclidean")
        np.minimum(nearest, squares.min(axis=1), out=nearest)
    return nearest


def _pairs(values: Squares, block: slice, largest: float) -> tuple[Indices, Indices, Squares]:
    squares = cdist(values[block], values, "sqeuclidean")
    rows, others = np.nonzero(squares <= largest)
    return (rows + block.start).astype(np.int32), others.astype(np.int32), squares[rows, others]
