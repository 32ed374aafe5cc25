"""A job's pool as the planner and the selection both see it: its samples in order, and the keys of their features."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alaas.jobs import Feature, ModelCard
from alaas_workers.cache import Cache, FeatureKeys
from alaas_workers.catalog import Catalog, PoolSample
from alaas_workers.ledger import JobSpec
from alaas_workers.wanted import LABELLED

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
    for member in spec.members:
        for feature in member.features:
            key = FeatureKeys(member, feature)
            there &= cache.present([key(sample.uri, sample.version) for sample in samples])
    return there


@dataclass(frozen=True)
class Gathered:
    """Features of a list of samples, by the name that the pool gives them; `there` is False where any is lacking."""

    samples: list[PoolSample]
    features: dict[str, NDArray[np.float32]]
    there: NDArray[np.bool_]

    def complete(self) -> tuple[list[PoolSample], dict[str, NDArray[np.float32]]]:
        """The samples that have every feature, and their rows."""
        if self.there.all():
            return self.samples, self.features
        kept = [sample for sample, is_there in zip(self.samples, self.there, strict=True) if is_there]
        return kept, {feature: rows[self.there] for feature, rows in self.features.items()}


def gather(cache: Cache, spec: JobSpec, cards: Sequence[ModelCard], samples: list[PoolSample]) -> Gathered:
    """Of a committee, the features of the first model, and as "committee" (N, M, C) the probabilities of all."""
    there: NDArray[np.bool_] = np.ones(len(samples), dtype=bool)
    of_members: list[dict[str, NDArray[np.float32]]] = []
    for member, card in zip(spec.members, cards, strict=True):
        features: dict[str, NDArray[np.float32]] = {}
        for feature in member.features:
            key = FeatureKeys(member, feature)
            rows, found = cache.features([key(s.uri, s.version) for s in samples], card.width(feature))
            features[feature.value] = _shaped(feature, rows, card)
            there &= found
        of_members.append(features)
    return Gathered(samples, of_members[0] | _committee(of_members), there)


def _shaped(feature: Feature, rows: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    return rows.reshape(len(rows), card.passes or 0, card.classes or 0) if feature is Feature.PASSES else rows


def _committee(of_members: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    given = [features[Feature.PROBABILITIES] for features in of_members if Feature.PROBABILITIES in features]
    return {"committee": np.stack(given, axis=1)} if len(given) == len(of_members) > 1 else {}


def labelled_arrays(labelled: Gathered, wanted: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """What the pool holds of labelled samples, of the `wanted` names: "labelled_embeddings", "labelled_classes", ...

    Classes are numbered by their labels' texts in order, over all labelled samples of the job. None while there are
    none.
    """
    if not labelled.samples:
        return {}
    samples, features = labelled.complete()
    arrays = {LABELLED + name: rows for name, rows in features.items()}
    texts = sorted({sample.label or "" for sample in labelled.samples})
    number = {text: at for at, text in enumerate(texts)}
    arrays["labelled_classes"] = np.array([number[sample.label or ""] for sample in samples], dtype=np.float32)
    return {name: rows for name, rows in arrays.items() if name in wanted}
