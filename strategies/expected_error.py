"""Expected error reduction: query the sample after which a classifier is expected to err least on all that we know.

Roy and McCallum 2001, "Toward Optimal Active Learning through Monte Carlo Estimation of Error Reduction", ICML; the
classifier is the Parzen window of Chapelle 2005, "Active Learning for Parzen Window Classifier", AISTATS, which is
retrained by one addition.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from strategies.base import Pool, Scores, ScoringStrategy
from strategies.blocks import blocks_of
from strategies.caps import refuse_above_cap
from strategies.kernels import Classes, Values, class_count, gaussian_kernel, labelled_samples


class ExpectedErrorReduction(ScoringStrategy):
    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings", "labelled_classes"})
    summary: ClassVar[str] = "the least expected error over the pool once the sample is labelled (small pools)"

    gamma: float | None = Field(default=None, gt=0, le=1e12, description="of the kernel exp(-gamma |x - y|^2); 1 / d")
    class_prior: float = Field(
        default=0.0, ge=0, le=1e6, description="samples of each class that count as seen everywhere, before any label"
    )
    n_classes: int | None = Field(default=None, ge=2, le=100_000, description="default: the largest class seen, plus 1")
    max_pool: int = Field(default=2_000, ge=1, le=100_000, description="refuse pools of more samples: quadratic cost")
    max_labelled: int = Field(default=2_000, ge=1, le=100_000, description="refuse more labelled samples")

    def scores(self, pool: Pool) -> Scores:
        refuse_above_cap("ExpectedErrorReduction", len(pool), self.max_pool, "max_pool")
        labelled, classes = labelled_samples(pool)
        refuse_above_cap("ExpectedErrorReduction", len(labelled), self.max_labelled, "max_labelled")
        order = pool.canonical_order()
        rows = pool.features["embeddings"][order].astype(np.float64, order="C")
        window = _ParzenWindow(np.concatenate([rows, labelled]), classes, self)
        scores = np.empty(len(pool))
        for block in blocks_of(len(pool), len(window.samples)):
            scores[order[block]] = -window.expected_errors(block)
        return scores


class _ParzenWindow:
    """Class frequencies of E samples, the labelled ones last: F[i, c] = prior + sum of kernels to those of class c.

    Sums run along rows of memory, each alone and in one order, so that equal samples get equal scores.
    """

    def __init__(self, samples: Values, classes: Classes, settings: ExpectedErrorReduction) -> None:
        self.samples = samples
        self._gamma, self._prior = settings.gamma, settings.class_prior
        self._count = class_count(settings.n_classes, classes)
        seen = np.unique(classes)
        self._unseen = self._count - len(seen)
        self._frequencies = self._prior + self._kernel_sums(classes, seen)  # (classes seen, E)
        self._totals = self._frequencies.sum(axis=0) + self._unseen * self._prior
        self._largest = self._frequencies.max(axis=0, initial=self._prior)

    def expected_errors(self, queries: slice) -> Scores:
        """For each query, the error over all samples after it got a class, by how probable each class is for it now."""
        kernel = gaussian_kernel(self.samples[queries], self.samples, self._gamma)
        totals = self._totals + kernel
        expected = np.zeros(len(kernel))
        for frequencies in self._frequencies:
            errors = self._errors(frequencies + kernel, totals)
            expected += self._probabilities(frequencies[queries], self._totals[queries]) * errors
        if self._unseen:  # classes without a label all are the same
            errors = self._errors(self._prior + kernel, totals)
            prior = np.full(len(kernel), self._prior)
            expected += self._unseen * self._probabilities(prior, self._totals[queries]) * errors
        return expected

    def _errors(self, raised: Values, totals: Values) -> Scores:
        """(M,) sums of 1 - max p, where one class's frequencies are `raised` (M, E) and the others' are as before."""
        np.maximum(raised, self._largest, out=raised)
        errors: Scores = (1.0 - self._probabilities(raised, totals)).sum(axis=1)
        return errors

    def _probabilities(self, frequencies: Values, totals: Values) -> Values:
        """A sample so far from all labels that every kernel is 0 belongs to each class alike."""
        even = np.full(frequencies.shape, 1.0 / self._count)
        np.divide(frequencies, totals, out=even, where=totals > 0)
        return even

    def _kernel_sums(self, classes: Classes, seen: Classes) -> Values:
        sums = np.zeros((len(seen), len(self.samples)))
        labelled = self.samples[len(self.samples) - len(classes) :]
        for block in blocks_of(len(self.samples), len(classes)):
            kernel = gaussian_kernel(self.samples[block], labelled, self._gamma)
            for row, number in enumerate(seen):
                sums[row, block] = kernel[:, classes == number].sum(axis=1)
        return sums
