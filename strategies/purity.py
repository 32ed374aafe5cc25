"""The radius for ProbCover: the largest whose balls mostly stay within one cluster, clusters standing for classes.

Yehuda, Dekel, Hacohen and Weinshall 2022, "Active Learning Through a Covering Lens", NeurIPS, section 3.2.
"""

from __future__ import annotations

import numpy as np

from strategies.balls import Balls
from strategies.clustering import k_means
from strategies.distances import Rows, exact_mean
from strategies.neighbours import nearest
from strategies.ranking import Indices

_FITTED, _JUDGED = 5_000, 1_000  # samples that k-means and the purity are estimated on


def pure_square(
    rows: Rows, order: Indices, clusters: int, purity: float, rng: np.random.Generator, balls: Balls
) -> float:
    """The largest squared radius at which a share of `purity` of the balls holds rows of one cluster only.

    `rows` (D, d) may stand for several samples each: `order` (N,) is the row of every sample, in the order in which
    numbers are dealt to them. 0.0 where all rows are in one cluster. The share is estimated on 1,000 samples drawn
    without replacement, each against all rows: O(D d (clusters + 1,000)) time.
    """
    labels, _ = nearest(rows, _centres(rows, order, clusters, rng))
    judged, counts = _drawn(order, _JUDGED, rng)
    nearest_other = balls.nearest_unlike(rows[judged], labels[judged], labels)
    squares = np.sort(np.repeat(nearest_other, counts))
    # A ball is pure below the distance to the nearest row of another cluster: just below the first that must be pure.
    first = float(squares[len(squares) - int(np.ceil(purity * len(squares) - 1e-9))])
    return float(np.nextafter(first, 0.0)) if np.isfinite(first) else 0.0


def _centres(rows: Rows, order: Indices, clusters: int, rng: np.random.Generator) -> Rows:
    drawn, counts = _drawn(order, _FITTED, rng)
    fitted = rows[drawn].astype(np.float64, order="C")
    mean = exact_mean(fitted)  # k-means computes with products, which round less there
    centres: Rows = k_means(fitted - mean, clusters, rng, counts.astype(np.float64)) + mean
    return centres


def _drawn(order: Indices, count: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """The rows of up to `count` samples drawn, each once, in the order of the first sample; and how many have it."""
    samples = order[np.sort(rng.permutation(len(order))[:count])]
    rows, firsts, counts = np.unique(samples, return_index=True, return_counts=True)
    by_sample = np.argsort(firsts)
    return rows[by_sample], counts[by_sample]
