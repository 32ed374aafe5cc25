"""What every strategy is: a pool of arrays and a budget in, a selection in rank order out.

A new strategy subclasses `Strategy` (or `ScoringStrategy`, when a score for each sample is all it has) and is found by
registry.py. Everything that may be wrong with pool, budget or result is checked here, once for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from strategies.errors import StrategyError
from strategies.features import checked_features, checked_ids
from strategies.members import with_derived
from strategies.ranking import SEED_LIMIT, Indices, TieBreaker, top_indices

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """The unlabelled samples. Raises StrategyError naming the feature and its rows.

    `ids`: N distinct texts. `features`: arrays of floats by name, seen read-only and never copied or changed (memory
    maps and float16 are fine). `seed`: of the job, for draws and ties.

    - "probabilities" (N, C): rows sum to 1; one column is read as [1 - p, p].
    - "embeddings" (N, d).
    - "passes" (N, T, C), T >= 2: probabilities of T stochastic passes; the committee's where only it is given.
    - "committee" (N, M, C), M >= 2: probabilities of M models.
    - "pass_sums" (N, C + 1): the mean of T passes' probabilities, then the mean of their entropies in nats. Made from
      "passes" where it is not given.
    - "label_probabilities" (N, L): of L labels that do not exclude one another, each in [0, 1].
    - "box_scores" (N, K): of an image's boxes, each in [0, 1]; 0 where there is no box.
    - "boundary_distances" (N, 1): of DeepFool, at least 0; float32's largest where no boundary was reached.
    - "labelled_embeddings" (L, d) and "labelled_classes" (L,), numbers of classes from 0: absent or empty while nothing
      is labelled.
    """

    ids: Sequence[str]
    features: Mapping[str, NDArray[np.floating[Any]]]
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_whole(self.seed) or not 0 <= self.seed < SEED_LIMIT:
            raise StrategyError(
                f"the seed must be a whole number from 0 to 2**64 - 1, not {self.seed!r:.80}", field="seed"
            )
        ids = checked_ids(self.ids)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "features", with_derived(checked_features(self.features, len(ids))))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ties(self) -> TieBreaker:
        """Orders samples that score the same."""
        return TieBreaker(self.ids, self.seed)

    def canonical_order(self) -> Indices:
        """(N,) all indices, by hash of seed and id. Work on rows taken in this order does not depend on input order."""
        return self.ties.ordered(np.arange(len(self), dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Selection:
    """`indices` (b,) into the pool in rank order, and their `scores` (b,): higher should be labelled first.

    `parts`: what a score is made of, by name, each (b,); for the report.
    """

    indices: Indices
    scores: Scores
    parts: Mapping[str, Scores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", np.asarray(self.indices, dtype=np.int64))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
        parts = {name: np.asarray(values, dtype=np.float64) for name, values in self.parts.items()}
        object.__setattr__(self, "parts", parts)

    def __len__(self) -> int:
        return len(self.indices)


class Strategy(BaseModel):
    """Base of all. The class's name is the strategy's name in YAML; its fields are its parameters, each with a default.

    `needs`: features that the pool must hold. `uses`: features that are taken into account where the pool holds them.
    `summary`: one line for lists. `scores_fall`: whether no rank scores higher than the one before; where what is
    chosen changes what the rest is worth, the order of choice is the rank. Subclasses write `choose`; callers call
    `select`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    needs: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[str]] = frozenset()
    summary: ClassVar[str] = ""
    scores_fall: ClassVar[bool] = True

    @final
    def select(self, pool: Pool, budget: int, rng: np.random.Generator | None = None) -> Selection:
        """min(budget, N) distinct samples of the pool. `rng`: the source of draws; default: from the pool's seed.

        Raises StrategyError for a budget below 0, a feature that is missing, or a strategy that breaks its promises.
        """
        count = self.count(pool, budget)
        if count == 0:
            return Selection(np.empty(0, dtype=np.int64), np.empty(0))
        rng = np.random.default_rng(pool.seed) if rng is None else rng
        return self.checked(self.choose(pool, count, rng), count, len(pool))

    @final
    def count(self, pool: Pool, budget: int) -> int:
        """min(budget, N). Raises StrategyError for a budget below 0 and for a feature that is missing."""
        if not _is_whole(budget) or budget < 0:
            raise StrategyError(f"the budget must be a whole number of at least 0, not {budget!r:.80}", field="budget")
        for name in sorted(self.needs - pool.features.keys()):
            raise StrategyError(f"{type(self).__name__} needs {name}, which the pool does not hold", field=name)
        return min(int(budget), len(pool))

    @abstractmethod
    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        """Exactly `budget` distinct indices in rank order with finite scores; 1 <= budget <= N, all `needs` are there.

        The result must not depend on the order of the pool: break ties with `pool.ties`, draw over
        `pool.canonical_order()`.
        """

    @final
    def checked(self, selection: Selection, count: int, size: int) -> Selection:
        """`selection` if it keeps what `choose` promises. Raises StrategyError."""
        indices, scores = selection.indices, selection.scores
        name = type(self).__name__
        if indices.shape != (count,) or scores.shape != (count,):
            raise StrategyError(
                f"{name} returned {indices.shape} indices and {scores.shape} scores for {count} samples"
            )
        if indices.min() < 0 or indices.max() >= size or len(np.unique(indices)) < count:
            raise StrategyError(f"{name} returned indices that repeat or lie outside the pool")
        _refuse_unfinished(name, scores, indices)
        for part, values in selection.parts.items():
            if values.shape != (count,):
                raise StrategyError(f"{name} returned {values.shape} values of {part} for {count} samples")
            _refuse_unfinished(f"{name} ({part})", values, indices)
        return selection


class ScoringStrategy(Strategy):
    """A strategy that is a score for each sample, whatever else is chosen. Subclasses write `scores`."""

    @abstractmethod
    def scores(self, pool: Pool) -> Scores:
        """(N,) finite; higher should be labelled first."""

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        """What the scores of `chosen` (b,) are made of, by name, each (b,). By default nothing."""
        return {}

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        scores = self.finite_scores(pool)
        indices = top_indices(scores, budget, pool.ties)
        return Selection(indices, scores[indices], self.parts(pool, indices))

    @final
    def finite_scores(self, pool: Pool) -> Scores:
        """`scores`, checked. Raises StrategyError for a wrong shape, NaN and Inf."""
        scores = np.asarray(self.scores(pool), dtype=np.float64)
        if scores.shape != (len(pool),):
            raise StrategyError(f"{type(self).__name__} returned {scores.shape} scores for {len(pool)} samples")
        _refuse_unfinished(type(self).__name__, scores, np.arange(len(pool)))
        return scores


def _refuse_unfinished(name: str, scores: Scores, rows: Indices) -> None:
    wrong = rows[~np.isfinite(scores)].tolist()
    if wrong:
        raise StrategyError(f"{name} gave {len(wrong)} scores of NaN or Inf, the first for row {wrong[0]}", rows=wrong)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
