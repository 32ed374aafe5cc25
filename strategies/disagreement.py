"""Where several opinions on a sample differ: of stochastic passes (BALD) or of a committee's models.

Houlsby et al. 2011, "Bayesian Active Learning for Classification and Preference Learning"; Gal, Islam and Ghahramani
2017, "Deep Bayesian Active Learning with Image Data"; Seung, Opper and Sompolinsky 1992, "Query by committee".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import rel_entr

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.blocks import score_rows
from strategies.members import two_sided
from strategies.ranking import Indices
from strategies.uncertainty import entropy

Members = NDArray[np.float64]  # (N, M, C) probabilities of M opinions; C = 1 is read as [1 - p, p]
Method = Literal["vote_entropy", "consensus_entropy", "mean_kl"]


def vote_entropy(members: Members) -> Scores:
    """(N,) entropy of the shares of votes in nats; a model votes for its most probable class, the first of equal ones.

    Dagan and Engelson 1995, "Committee-based sampling for training probabilistic classifiers".
    """
    votes = two_sided(members).argmax(axis=2)
    agreeing = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    # Sorted, so that votes of 2 to 1 score the same to the last bit whichever classes and models they are of.
    scores: Scores = np.log(members.shape[1] / np.sort(agreeing, axis=1)).mean(axis=1)
    return scores


def consensus_entropy(members: Members) -> Scores:
    """(N,) entropy of the mean distribution in nats."""
    return entropy(two_sided(members).mean(axis=1))


def mean_kl(members: Members) -> Scores:
    """(N,) mean Kullback-Leibler divergence to the mean distribution, in nats: H[mean p] - mean H[p], never below 0.

    McCallum and Nigam 1998, "Employing EM and pool-based active learning for text classification".
    """
    opinions = two_sided(members)
    first = opinions[:, :1]
    # Opinions that are all the same have exactly themselves as mean this way, and no divergence.
    mean = np.maximum(first + (opinions - first).mean(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    divergences = rel_entr(opinions, mean).reshape(len(members), -1).sum(axis=1)
    scores: Scores = np.maximum(divergences / members.shape[1], 0.0)
    return scores


def mutual_information(sums: NDArray[np.float64], precision: float = 2.0**-52) -> Scores:
    """(N,) BALD: H[mean p] - mean H[p] in nats, at least 0, of "pass_sums" (N, C + 1).

    `precision`: the relative rounding of the sums as they were kept. What it may have left of passes that all agree,
    on either side of 0, is 0.
    """
    of_mean = entropy(sums[:, :-1])
    gains = of_mean - sums[:, -1]
    return np.where(gains > 8 * precision * (1.0 + of_mean), gains, 0.0)


class BayesianDisagreement(ScoringStrategy):
    """BALD: the samples on which the passes are sure, each of something else."""

    needs: ClassVar[frozenset[str]] = frozenset({"pass_sums"})
    summary: ClassVar[str] = "BALD: stochastic passes disagree most, each being sure: H[mean p] - mean H[p]"

    def scores(self, pool: Pool) -> Scores:
        sums = pool.features["pass_sums"]
        precision = float(np.finfo(sums.dtype).eps)
        return score_rows(lambda rows: mutual_information(rows, precision), sums)

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        sums = pool.features["pass_sums"]
        return {
            "entropy_of_mean": score_rows(lambda rows: entropy(rows[:, :-1]), sums, chosen),
            "mean_entropy": sums[chosen, -1].astype(np.float64),
        }


class QueryByCommittee(ScoringStrategy):
    needs: ClassVar[frozenset[str]] = frozenset({"committee"})
    summary: ClassVar[str] = "a committee of models disagrees most: vote entropy, consensus entropy or mean KL"

    method: Method = Field(
        default="vote_entropy",
        description="vote_entropy (of the classes voted for), consensus_entropy (of the mean probabilities) or mean_kl "
        "(mean divergence of a model from the mean)",
    )

    def scores(self, pool: Pool) -> Scores:
        return score_rows(METHODS[self.method], pool.features["committee"])

    def parts(self, pool: Pool, chosen: Indices) -> Mapping[str, Scores]:
        """All three measures: a tie of votes is often none of the probabilities."""
        return {name: score_rows(measure, pool.features["committee"], chosen) for name, measure in METHODS.items()}


METHODS: dict[Method, Callable[[Members], Scores]] = {
    "vote_entropy": vote_entropy,
    "consensus_entropy": consensus_entropy,
    "mean_kl": mean_kl,
}
