"""Inference: arrays to features of each sample, kept in the cache under the sample's identity."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alaas.config import Config
from alaas.errors import AlaasError, ModelError, SampleCode, Transient
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends import ENGINES, EngineAway, EngineChanged, RemoteBackend, engine_of, open_backend
from alaas_workers.cache import Cache, FeatureKeys, split_packs, unpack
from alaas_workers.ledger import FailedAt, JobSpec, Lease
from alaas_workers.model_cards import ModelCards
from alaas_workers.models import settings_of
from alaas_workers.pipeline import Made, NotNow

if TYPE_CHECKING:
    from alaas_workers.backends import Backend

logger = logging.getLogger(__name__)
Samples = list[tuple[str, str]]  # URI and version of each


class Inference:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._cache = Cache.open(config)
        self._cards = ModelCards.open(config)
        self._backends: dict[str, Backend] = {}
        self._remote: set[str] = set()  # models on Triton that were asked for here
        # One at a time of each engine: a server that is silent must not keep other models from being loaded.
        self._locks = {engine: threading.Lock() for engine in ENGINES}

    def describe(self, model: str) -> None:
        """Load a model and publish its card, or the reason why it cannot be loaded."""
        if model not in self._config.models:
            logger.warning("asked for a model that this worker's configuration lacks")
            return
        try:
            self._cards.publish(self._backend(model).card)
        except ModelError as error:
            logger.error("model %s: %s", model, error)
            settings = self._config.models[model]
            if settings.is_on_triton and self._cards.get(model).fingerprint is not None:
                return  # a server that starts again answers before it has loaded its models: chunks wait for it
            modality = settings.modality
            self._cards.publish(ModelCard(name=model, modality=modality, error=error.detail))
        except Transient as error:
            logger.warning("model %s: %s; asked again later", model, error)

    def refresh(self) -> None:
        """Publish anew the cards of models that were looked at here, and run where they may change without us."""
        for model in sorted(self._remote):
            backend = self._backends.get(model)
            try:
                if isinstance(backend, RemoteBackend):
                    backend.check()
            except EngineChanged:
                self._forget(model)
            except EngineAway:
                continue  # what is known of it holds until it is back
            known = self._backends.get(model)
            if known is None or known.card != self._cards.get(model):
                self.describe(model)

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        spec = lease.spec
        members = [member for member in spec.members if member.features]
        backends = [self._backend_for(member) for member in members]
        packs = dict(zip(spec.transforms, split_packs(data, len(spec.transforms)), strict=True))
        uri_of = {sample.ordinal: sample.uri for sample in lease.samples}
        goods = []
        for member, backend in zip(members, backends, strict=True):
            ordinals, versions, arrays = unpack(packs[member.transform])
            samples = [(uri_of[ordinal], version) for ordinal, version in zip(ordinals, versions, strict=True)]
            if spec.others and self._has_all(member, samples):  # from a job with this model in it
                goods.append(np.ones(len(samples), dtype=bool))
            else:
                goods.append(self._infer(member, backend, samples, arrays, progress))
        good: NDArray[np.bool_] = np.all(goods, axis=0)
        failed = [FailedAt(ordinals[i], SampleCode.BAD_OUTPUT, "") for i in np.flatnonzero(~good).tolist()]
        return Made(b"", int(good.sum()), failed)

    def _infer(
        self,
        spec: JobSpec,
        backend: Backend,
        samples: Samples,
        arrays: list[NDArray[np.uint8]],
        progress: Callable[[], None],
    ) -> NDArray[np.bool_]:
        """Compute and keep one model's features of the samples. (N,) whether they are good."""
        try:
            features = backend.infer(arrays, spec.features, progress)
        except EngineChanged as error:
            self._forget(spec.model)
            raise NotNow(f"the model {spec.model} is another than it was: {error.detail}") from error
        good = _rows_are_finite(features, len(arrays))
        for feature, rows in features.items():
            key = FeatureKeys(spec, feature)
            self._cache.put_features((key(*samples[i]), rows[i]) for i in np.flatnonzero(good).tolist())
        return good

    def _has_all(self, spec: JobSpec, samples: Samples) -> bool:
        for feature in spec.features:
            key = FeatureKeys(spec, feature)
            if not self._cache.present([key(*sample) for sample in samples]).all():
                return False
        return True

    def _backend_for(self, member: JobSpec) -> Backend:
        """Raises NotNow where the model is not here as the job was planned for it."""
        try:
            backend = self._backend(member.model)
        except EngineAway:
            raise  # put off for as long as it takes, as when it goes away in the middle
        except AlaasError as error:
            raise NotNow(f"the model {member.model} cannot be loaded here: {error.detail}") from error
        if not member.is_planned_for(backend.card):
            # Its weights were changed since the job was planned; the dispatcher plans it anew from this card.
            self._cards.publish(backend.card)
            raise NotNow(f"the weights of {member.model} are others than those the job was planned for")
        return backend

    def _backend(self, model: str) -> Backend:
        settings = settings_of(model, self._config)
        if settings.is_on_triton:
            self._remote.add(model)
        with self._locks[engine_of(settings)]:
            if model not in self._backends:
                self._backends[model] = open_backend(model, self._config)
            return self._backends[model]

    def _forget(self, model: str) -> None:
        """Open it anew next time. Not closed: another thread's chunk may be with it."""
        with self._locks[engine_of(settings_of(model, self._config))]:
            self._backends.pop(model, None)


def _rows_are_finite(features: Mapping[Feature, NDArray[np.float32]], count: int) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = np.ones(count, dtype=bool)
    for feature, rows in features.items():
        if len(rows) != count:
            raise ModelError(f"the model gave {len(rows)} rows of {feature} for {count} samples")
        good &= np.isfinite(rows.reshape(count, -1)).all(axis=1)
    return good
