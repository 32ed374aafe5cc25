"""What a batch policy leaves open as a batch grows. Every rule only closes: what breaks it once, breaks it for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.base import Pool
from strategies.blocks import row_blocks
from strategies.distances import Rows
from strategies.errors import StrategyError
from strategies.neighbours import firsts_of_equals, near_pairs, nearest
from strategies.policy import BatchPolicy
from strategies.ranking import Indices

Mask = NDArray[np.bool_]
_STEP = 256  # samples of a ranking that are judged at once


class Rules:
    """`open` (N,): what may still be taken. `taken`: in order. `refused`: how many samples each rule closed."""

    def __init__(self, pool: Pool, policy: BatchPolicy, sources: Sequence[str] | None) -> None:
        """Raises StrategyError for a feature that is missing, and for sources that do not fit."""
        for name in sorted(policy.needs - pool.features.keys()):
            rule = "min_distance" if name == "embeddings" else "max_per_class"
            raise StrategyError(f"the policy's {rule} needs {name}, which the pool does not hold", field=rule)
        self.open: Mask = np.ones(len(pool), dtype=np.bool_)
        self.taken: list[int] = []
        self.refused: Counter[str] = Counter()
        self._quotas = _quotas(pool, policy, sources)
        self._spacing = _spacing(pool, policy)
        excluded = set(policy.exclude)
        if excluded:
            self._close([index for index, name in enumerate(pool.ids) if name in excluded], "exclude")

    @property
    def left(self) -> int:
        return int(np.count_nonzero(self.open))

    def take(self, index: int) -> None:
        """Whatever the rules say; it counts from now on."""
        self.open[index] = False
        self.taken.append(index)
        for quota in self._quotas:
            self._close(quota.closed_by(index), quota.rule)

    def take_from(self, ranked: Indices, wanted: int) -> Indices:
        """Go down `ranked` (M,) and take what the rules allow, until there are `wanted`. Places in it, in order."""
        kept: list[int] = []
        for start in range(0, len(ranked), _STEP):
            if len(kept) == wanted:
                break
            kept += [start + place for place in self._take_from(ranked[start : start + _STEP], wanted - len(kept))]
        return np.array(kept, dtype=np.int64)

    def close_near(self) -> None:
        """Close all that is nearer than allowed to what is labelled or taken, in O((L + b) N d) over all calls."""
        if self._spacing is not None:
            candidates = np.flatnonzero(self.open)
            self._close(candidates[self._spacing.is_near(candidates, self.taken)], "min_distance")
            self._spacing.settle(len(self.taken))

    def _take_from(self, ranked: Indices, wanted: int) -> list[int]:
        near = self._near_one_another(ranked)
        blocked = np.zeros(len(ranked), dtype=np.bool_)
        if self._spacing is not None:
            blocked |= self._spacing.is_near(ranked, self.taken)
        kept: list[int] = []
        for place, index in enumerate(ranked.tolist()):
            if len(kept) == wanted:
                break
            if not self.open[index]:
                continue
            if blocked[place]:
                self._close([index], "min_distance")
                continue
            self.take(index)
            kept.append(place)
            blocked[near.get(place, [])] = True
        return kept

    def _near_one_another(self, ranked: Indices) -> dict[int, list[int]]:
        """For a place in `ranked` the later ones that are nearer than allowed."""
        near: dict[int, list[int]] = {}
        if self._spacing is not None:
            for one, other in self._spacing.pairs(ranked):
                near.setdefault(one, []).append(other)
        return near

    def _close(self, indices: Iterable[int] | Indices, rule: str) -> None:
        closing = np.asarray(indices, dtype=np.int64)
        self.refused[rule] += int(np.count_nonzero(self.open[closing]))
        self.open[closing] = False


class _Quota:
    """At most `limit` samples of each group."""

    def __init__(self, rule: str, groups: Indices, limit: int) -> None:
        self.rule = rule
        self._groups, self._limit = groups, limit
        count = int(groups.max(initial=-1)) + 1
        self._taken = np.zeros(count, dtype=np.int64)
        self._by_group = np.argsort(groups, kind="stable")
        self._starts = np.searchsorted(groups[self._by_group], np.arange(count + 1))

    def closed_by(self, index: int) -> Indices:
        """The samples of the group of `index`, when taking that fills it."""
        group = self._groups[index]
        self._taken[group] += 1
        is_full = self._taken[group] == self._limit
        return self._by_group[self._starts[group] : self._starts[group + 1] if is_full else self._starts[group]]


class _Spacing:
    """Which samples are nearer than `distance` to what is labelled or taken. Settled points were told of to all."""

    def __init__(self, rows: Rows, labelled: Rows, distance: float) -> None:
        self._rows, self._distance = rows, distance
        self._labelled = labelled[firsts_of_equals(labelled)] if len(labelled) else labelled
        self._settled = 0

    def is_near(self, indices: Indices, taken: Sequence[int]) -> Mask:
        near = np.zeros(len(indices), dtype=np.bool_)
        for points in (self._labelled, self._rows[np.array(taken[self._settled :], dtype=np.int64)]):
            if len(points) and len(indices):
                near |= nearest(self._rows, points, only=indices, within=self._distance)[0] >= 0
        return near

    def pairs(self, indices: Indices) -> Iterable[tuple[int, int]]:
        """Places in `indices`, the earlier first, of two samples that are too near."""
        return near_pairs(self._rows[indices], self._distance)

    def settle(self, taken: int) -> None:
        self._labelled, self._settled = self._labelled[:0], taken


def _spacing(pool: Pool, policy: BatchPolicy) -> _Spacing | None:
    if policy.min_distance is None:
        return None
    rows = pool.features["embeddings"]
    return _Spacing(rows, pool.features.get("labelled_embeddings", rows[:0]), policy.min_distance)


def _quotas(pool: Pool, policy: BatchPolicy, sources: Sequence[str] | None) -> list[_Quota]:
    quotas = []
    if policy.max_per_class is not None:
        classes = predicted_classes(pool.features["probabilities"])
        quotas.append(_Quota("max_per_class", classes, policy.max_per_class))
    if policy.max_per_source is not None:
        quotas.append(_Quota("max_per_source", _numbered(sources, len(pool)), policy.max_per_source))
    return quotas


def predicted_classes(probabilities: Rows) -> Indices:
    """(N,) the most probable class of each row, the first of equals; one column is read as [1 - p, p]."""
    classes = np.empty(len(probabilities), dtype=np.int64)
    for block in row_blocks(probabilities):
        rows = probabilities[block]
        classes[block] = rows.argmax(axis=1) if rows.shape[1] > 1 else rows[:, 0] > 0.5
    return classes


def _numbered(sources: Sequence[str] | None, size: int) -> Indices:
    if sources is None or len(sources) != size:
        given = "none" if sources is None else str(len(sources))
        raise StrategyError(
            f"max_per_source needs a source for each of the {size} samples, not {given}", field="sources"
        )
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(name, len(numbers)) for name in sources), dtype=np.int64, count=size)
