"""K-means sampling: as many clusters as the budget, and the real sample nearest to each centre.

In active learning by Zhu et al. 2008, "Active learning with sampling by uncertainty and density for word sense
disambiguation and text classification", and Xu et al. 2003, "Representative sampling for text classification".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategies.base import Pool, Selection, Strategy
from strategies.clustering import centred
from strategies.representatives import representatives


class KMeansSampling(Strategy):
    """A sample's score is how many of the pool are nearest to its centre."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    summary: ClassVar[str] = "k-means with as many clusters as the budget, and the sample nearest to each centre"

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        order = pool.canonical_order()
        found = representatives(centred(pool.features["embeddings"], order), budget, rng)
        return Selection(order[found.places], found.stands_for, {"distance_to_centre": found.distances})
