"""BatchBALD: a batch whose labels together tell most of the model, rather than many copies of one good question.

Kirsch, van Amersfoort and Gal 2019, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active
Learning".
"""

from __future__ import annotations

from math import isqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from strategies.base import Pool, Scores, Selection, Strategy
from strategies.blocks import score_rows
from strategies.disagreement import mean_kl
from strategies.features import Feature
from strategies.joint_labels import SCREEN_ERROR, JointLabels
from strategies.members import two_sided
from strategies.ranking import Indices, top_indices

NOTHING_LEFT = 1e-6  # nats; the labels of what is chosen tell the passes apart as well as can be

_REFRESHED_AT_ONCE = 64

_CANDIDATES = 1000
_CONFIGURATIONS = 2000
_CLASSES_AT_FULL = 25  # candidates x configurations x classes, about what a joint step costs, is 5e7 from there on


class BatchBALD(Strategy):
    """Greedy on the joint mutual information of labels and passes, then by the information of each sample alone.

    A joint step takes time O(candidates * configurations * T * C), most of it for logarithms, of which there are
    candidates * configurations * C. By default both numbers fall with the root of C beyond 25 classes, so that there
    are no more than at 25. Both fall alike: fewer configurations make gains noisier, fewer candidates leave less to
    choose from.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"passes"})
    summary: ClassVar[str] = "labels of the whole batch together tell most of the model: greedy joint BALD"
    scores_fall: ClassVar[bool] = False

    candidates: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="how many samples, those with most BALD, the joint is looked at for; by default 1000, beyond 25 "
        "classes 1000 * sqrt(25 / classes)",
    )
    configurations: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="up to how many configurations of labels the joint is exact, and how many are drawn beyond; by "
        "default 2000, beyond 25 classes 2000 * sqrt(25 / classes)",
    )
    joint_steps: int = Field(
        default=50, ge=1, le=1000, description="how many samples are chosen jointly before the rest goes by BALD alone"
    )

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        passes = pool.features["passes"]
        alone = score_rows(mean_kl, passes)
        count = self.candidates or affordable(_CANDIDATES, passes.shape[2])
        ranked = top_indices(alone, max(budget, count), pool.ties)
        candidates = ranked[:count]
        configurations = self.configurations or affordable(_CONFIGURATIONS, passes.shape[2])
        joint = JointLabels(passes.shape[1], configurations, rng)
        greedy = _Greedy(_distributions(passes[candidates]), joint, pool.ties.keys(candidates))
        places, gains = greedy.steps(min(budget, self.joint_steps))
        chosen = np.concatenate([candidates[places], np.delete(ranked, places)[: budget - len(places)]])
        return _selection(chosen, gains, alone[chosen], float(np.log(passes.shape[1])))


def affordable(count: int, classes: int) -> int:
    """`count` up to 25 classes, count * sqrt(25 / classes) beyond, rounded down and at least 1."""
    return max(1, min(count, isqrt(count * count * _CLASSES_AT_FULL // classes)))


class _Greedy:
    """Always the candidate with the largest gain.

    No gain rises as samples are added (mutual information is submodular), so that those whose last known gain is below
    the best need no look. Once the joint is sampled that holds but for the estimate's noise.
    """

    def __init__(self, members: NDArray[np.float64], joint: JointLabels, keys: NDArray[np.uint64]) -> None:
        self._members = members
        self._joint = joint
        self._keys = keys
        self._bounds = np.full(len(members), np.inf)

    def steps(self, count: int) -> tuple[list[int], list[float]]:
        """Up to `count` places and their gains; less where nothing is left to gain."""
        places: list[int] = []
        gains: list[float] = []
        while len(places) < min(count, len(self._bounds)):
            place, gain = self._best()
            if gain <= NOTHING_LEFT:
                break
            places.append(place)
            gains.append(gain)
            self._bounds[place] = -np.inf
            self._joint.add(self._members[place])
        return places, gains

    def _best(self) -> tuple[int, float]:
        # Those which the error of a screening, of their own gain and of the best one's, may keep from being the best.
        near = np.flatnonzero(self._bounds >= self._screened() - 2 * SCREEN_ERROR)
        gains = self._joint.gains(self._members[near])
        equal = near[gains == gains.max()]
        return int(equal[np.argmin(self._keys[equal])]), float(gains.max())

    def _screened(self) -> float:
        """The largest gain within SCREEN_ERROR; brings the bounds of all that come near it up to date."""
        order = np.argsort(-self._bounds, kind="stable")
        best = -np.inf
        for start in range(0, len(order), _REFRESHED_AT_ONCE):
            some = order[start : start + _REFRESHED_AT_ONCE]
            some = some[self._bounds[some] > best - 2 * SCREEN_ERROR]
            if len(some) == 0:
                break
            self._bounds[some] = self._joint.screened_gains(self._members[some])
            best = max(best, float(self._bounds[some].max()))
        return best


def _distributions(members: Feature) -> NDArray[np.float64]:
    """(K, T, C) that sum to 1 to the last bits: the chances of configurations are products of many."""
    rows = two_sided(members.astype(np.float64, order="C"))
    rows /= rows.sum(axis=2, keepdims=True)
    return rows


def _selection(chosen: Indices, gains: list[float], alone: Scores, limit: float) -> Selection:
    """`limit`: ln T. No labels tell more of T passes, though estimated gains may add up to a little more."""
    rest = alone[len(gains) :]
    joint = np.minimum(np.cumsum(np.concatenate([gains, np.zeros(len(rest))])), limit)
    return Selection(chosen, np.concatenate([gains, rest]), {"bald": alone, "joint_information": joint})
