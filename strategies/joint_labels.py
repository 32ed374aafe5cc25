"""What the labels of several samples together would tell of T stochastic passes; for BatchBALD.

Kirsch, van Amersfoort and Gal 2019, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active
Learning".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from strategies.blocks import blocks_of, score_rows

Array = NDArray[np.float64]

SCREEN_ERROR = 1e-9  # nats; far above what rounding does to screened gains

_ARRAYS_AT_ONCE = 4  # of a block's shape, which share a core's cache


class JointLabels:
    """The configurations y that the labels of the samples added may take, each with its probability p(y), the mean over
    the passes, and the posterior p(t | y) of the passes, which are equally likely before.

    The joint mutual information of y and t grows by `gains` with each sample that is added: I(y, y'; t) - I(y; t) =
    E_y H[y' | y] - mean_t H[y' | t]. Exact while configurations with p(y) > 0 are at most `limit`. From there on E_y is
    the mean over limit/T configurations drawn from each pass, extended label by label: an unbiased estimate of E_y.
    """

    def __init__(self, passes: int, limit: int, rng: np.random.Generator) -> None:
        self._limit = limit
        self._rng = rng
        self._weights = np.ones(1)
        self._posteriors = np.full((passes, 1), 1.0 / passes)
        self.is_sampled = False

    def gains(self, members: Array) -> Array:
        """(K,) nats for `members` (K, T, C), rows sum to 1. Time O(K T C configurations), memory bounded.

        Each is the same to the last bit wherever its row stands.
        """
        return self._expected(members, _mixed, entr) - score_rows(_mean_entropy, members)

    def screened_gains(self, members: Array) -> Array:
        """`gains` within SCREEN_ERROR, several times as fast, and not the same in the last bits everywhere."""
        return self._expected(members, _product, _fast_entr) - score_rows(_mean_entropy, members)

    def add(self, passes: Array) -> None:
        """Take in the sample with `passes` (T, C)."""
        if not self.is_sampled and len(self._weights) * passes.shape[1] > self._limit:
            self._draw()
        if self.is_sampled:
            self._extend(passes)
        else:
            self._branch(passes)

    def _expected(
        self, members: Array, mix: Callable[[Array, Array], Array], entropies: Callable[[Array], Array]
    ) -> Array:
        """(K,) E_y H[y' | y]."""
        expected = np.zeros(len(members))
        width = members.shape[2] * _ARRAYS_AT_ONCE
        # The configurations are cut in the same places however many rows there are, since sums depend on it.
        for part in blocks_of(len(self._weights), width):
            weights, posteriors = self._weights[part], self._posteriors[:, part]
            for block in blocks_of(len(members), width * len(weights)):
                terms = entropies(mix(members[block], posteriors)) * weights
                expected[block] += terms.reshape(len(terms), -1).sum(axis=1)
        return expected

    def _branch(self, passes: Array) -> None:
        """Every configuration with every label; those that cannot be are dropped."""
        likelihoods = _mixed(passes[None], self._posteriors).ravel()
        weights = np.tile(self._weights, passes.shape[1]) * likelihoods
        possible = np.flatnonzero(weights > 0)
        joint = (passes[:, :, None] * self._posteriors[:, None, :]).reshape(len(passes), -1)
        self._posteriors = joint[:, possible] / likelihoods[possible]
        self._weights = weights[possible]

    def _draw(self) -> None:
        """From all configurations to as many of each pass."""
        count = max(1, self._limit // len(self._posteriors))
        drawn = [self._drawn(posterior * self._weights, count) for posterior in self._posteriors]
        self._posteriors = self._posteriors[:, np.concatenate(drawn)]
        self._weights = np.full(self._posteriors.shape[1], 1.0 / self._posteriors.shape[1])
        self.is_sampled = True

    def _extend(self, passes: Array) -> None:
        """Every configuration with a label drawn from the pass that it was drawn from."""
        count = len(self._weights) // len(passes)
        labels = np.concatenate([self._drawn(shares, count) for shares in passes])
        joint = self._posteriors * passes[:, labels]
        self._posteriors = joint / joint.sum(
            axis=0
        )  # not 0: by Markov, the chance that its own pass vanishes is 1e-300

    def _drawn(self, shares: Array, count: int) -> NDArray[np.int64]:
        """(count,) places in `shares`, each with that chance."""
        sums = np.cumsum(shares)
        places = np.searchsorted(sums, self._rng.random(count) * sums[-1], side="right")
        possible: NDArray[np.int64] = np.minimum(places, np.flatnonzero(shares)[-1])  # rounding may reach the last sum
        return possible


def _mean_entropy(members: Array) -> Array:
    """(K,) mean_t H[y' | t]."""
    means: Array = entr(members).reshape(len(members), -1).sum(axis=1) / members.shape[1]
    return means


def _mixed(members: Array, posteriors: Array) -> Array:
    """(K, C, M) p(y' | y) of `members` (K, T, C) and posteriors (T, M), added up pass by pass and not by BLAS."""
    mixed = np.zeros((len(members), members.shape[2], posteriors.shape[1]))
    for number, posterior in enumerate(posteriors):
        mixed += members[:, number, :, None] * posterior
    return mixed


def _product(members: Array, posteriors: Array) -> Array:
    product: Array = members.transpose(0, 2, 1) @ posteriors
    return product


def _fast_entr(shares: Array) -> Array:
    """`entr` at a tenth of its time. 0 keeps 0: the floor leaves its logarithm finite."""
    logarithms = np.log(np.maximum(shares, np.finfo(np.float64).tiny))
    logarithms *= shares
    return np.negative(logarithms, out=logarithms)
