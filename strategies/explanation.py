"""Why a batch was chosen: what its scores are made of, what each sample is nearest to, and how many it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from strategies.base import Pool, Scores, Selection
from strategies.batch import RANDOM, Batch
from strategies.distances import Rows, Squares
from strategies.neighbours import firsts_of_equals, nearest
from strategies.ranking import Indices

MAX_WORK = 3 * 10**11  # (N + L) b d: about half a minute on two cores, seconds on sixteen


@dataclass(frozen=True)
class Neighbour:
    """`index`: a row of `labelled_embeddings`, or of the pool for a chosen sample. `distance`: Euclidean."""

    kind: Literal["labelled", "chosen"]
    index: int
    distance: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """For each sample of a selection, in rank order.

    `parts`: what its score is made of, by name, each (b,), NaN where there is none. `nearest` (b,): its nearest
    labelled or earlier chosen sample, labelled ones first among equals; None where there is neither. Earlier is what
    has a smaller rank, and for a strategy's choice also what was drawn at random: that is drawn first.
    `stands_for` (b,): how many samples of the pool have it as their nearest chosen one, by rank among equals; a chosen
    sample has itself, and they add up to N. Both are None where the pool holds no embeddings or is too large, and then
    `warnings` says so.
    """

    parts: Mapping[str, Scores] = field(default_factory=dict)
    nearest: tuple[Neighbour | None, ...] | None = None
    stands_for: Indices | None = None
    warnings: tuple[str, ...] = ()


def explain(pool: Pool, selection: Selection, *, max_work: int = MAX_WORK) -> Explanation:
    """Explain `selection` (or a Batch) from `pool`. The same to the last bit whatever BLAS and the pool's order do.

    Time O((N + L) b d) by matrix products, memory O(N) and a block; above `max_work` neighbours are left out.
    """
    rows = pool.features.get("embeddings")
    if rows is None or not len(selection):
        return Explanation(selection.parts)
    labelled = pool.features.get("labelled_embeddings", rows[:0])
    work = (len(pool) + len(labelled)) * len(selection) * rows.shape[1]
    if work > max_work:
        said = (
            f"neighbours are left out: {work:.2g} products of the pool's and the batch's embeddings would take minutes"
        )
        return Explanation(selection.parts, warnings=(said,))
    return Explanation(selection.parts, _neighbours(pool, labelled, selection), _stands_for(pool, selection))


def _neighbours(pool: Pool, labelled: Rows, selection: Selection) -> tuple[Neighbour | None, ...]:
    order = _order_of_choice(selection)
    indices = selection.indices[order]
    chosen = pool.features["embeddings"][indices]
    near_labelled, labelled_squares = _nearest(chosen, labelled)
    near_chosen, chosen_squares = _nearest(chosen, chosen, np.arange(len(chosen)))
    found: list[Neighbour | None] = [None] * len(chosen)
    for place, rank in enumerate(order.tolist()):
        if near_labelled[place] >= 0 and labelled_squares[place] <= chosen_squares[place]:
            found[rank] = Neighbour("labelled", int(near_labelled[place]), math.sqrt(labelled_squares[place]))
        elif near_chosen[place] >= 0:
            index = int(indices[near_chosen[place]])
            found[rank] = Neighbour("chosen", index, math.sqrt(chosen_squares[place]))
    return tuple(found)


def _order_of_choice(selection: Selection) -> Indices:
    """Ranks in the order in which the samples were chosen: random draws rank last, and were there first."""
    is_drawn = isinstance(selection, Batch) and np.array([kind == RANDOM for kind in selection.drawn])
    ranks = np.arange(len(selection))
    return np.concatenate([ranks[is_drawn], ranks[~is_drawn]]) if np.any(is_drawn) else ranks


def _stands_for(pool: Pool, selection: Selection) -> Indices:
    rows = pool.features["embeddings"]
    found, _ = _nearest(rows, rows[selection.indices])
    found[selection.indices] = np.arange(len(selection))
    return np.bincount(found, minlength=len(selection))


def _nearest(rows: Rows, points: Rows, before: Indices | None = None) -> tuple[Indices, Squares]:
    """As `nearest`, and no slower where many points are equal: only the first of equals can be an answer."""
    first = firsts_of_equals(points)
    earlier = None if before is None else np.searchsorted(first, before)
    found, squares = nearest(rows, points[first], before=earlier)
    found[found >= 0] = first[found[found >= 0]]
    return found, squares
