"""A job's pool as the planner and the selection both see it: its samples in order, and the keys of their features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alaas.jobs import Feature, ModelCard
from alaas_workers.cache import Cache, FeatureKeys
from alaas_workers.catalog import Catalog, PoolSample
from alaas_workers.ledger import JobSpec
from alaas_workers.model_cards import row_bytes

PAGE = 4096


def pool_pages(catalog: Catalog, job_id: str) -> Iterator[list[PoolSample]]:
    """The job's unlabelled samples by ordinal, a page at a time."""
    after = -1
    while page := catalog.pool(job_id, after=after, limit=PAGE):
        yield page
        after = page[-1].ordinal


def present(cache: Cache, spec: JobSpec, samples: Sequence[PoolSample]) -> NDArray[np.bool_]:
    """For each sample, whether all features that the job needs are in the cache. (N,) bool."""
    there: NDArray[np.bool_] = np.ones(len(samples), dtype=bool)
    for feature in spec.features:
        key = FeatureKeys(spec, feature)
        there &= cache.present([key(sample.uri, sample.version) for sample in samples])
    return there


@dataclass(frozen=True)
class Gathered:
    """Features of a list of samples; rows of samples that lack any are False in `there`."""

    samples: list[PoolSample]
    features: dict[Feature, NDArray[np.float32]]
    there: NDArray[np.bool_]

    def complete(self) -> tuple[list[PoolSample], dict[Feature, NDArray[np.float32]]]:
        """The samples that have every feature, and their rows."""
        if self.there.all():
            return self.samples, self.features
        kept = [sample for sample, is_there in zip(self.samples, self.there, strict=True) if is_there]
        return kept, {feature: rows[self.there] for feature, rows in self.features.items()}


def gather(cache: Cache, spec: JobSpec, card: ModelCard, samples: list[PoolSample]) -> Gathered:
    there: NDArray[np.bool_] = np.ones(len(samples), dtype=bool)
    features: dict[Feature, NDArray[np.float32]] = {}
    for feature in spec.features:
        key = FeatureKeys(spec, feature)
        rows, found = cache.features([key(s.uri, s.version) for s in samples], row_bytes(card, feature) // 4)
        features[feature] = rows
        there &= found
    return Gathered(samples, features, there)
