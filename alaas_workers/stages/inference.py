"""Inference: arrays to features of each sample, kept in the cache under the sample's identity."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alaas.config import Config
from alaas.errors import AlaasError, ModelError, SampleCode
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends import open_backend
from alaas_workers.cache import Cache, FeatureKeys, unpack
from alaas_workers.ledger import FailedAt, Lease
from alaas_workers.model_cards import ModelCards
from alaas_workers.pipeline import Made, NotNow

if TYPE_CHECKING:
    from alaas_workers.backends import Backend

logger = logging.getLogger(__name__)


class Inference:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._cache = Cache.open(config)
        self._cards = ModelCards.open(config)
        self._backends: dict[str, Backend] = {}
        self._lock = threading.Lock()

    def describe(self, model: str) -> None:
        """Load a model and publish its card, or the reason why it cannot be loaded."""
        if model not in self._config.models:
            logger.warning("asked for a model that this worker's configuration lacks")
            return
        try:
            self._cards.publish(self._backend(model).card)
        except ModelError as error:
            logger.error("model %s: %s", model, error)
            modality = self._config.models[model].modality
            self._cards.publish(ModelCard(name=model, modality=modality, error=error.detail))

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        spec = lease.spec
        try:
            backend = self._backend(spec.model)
        except AlaasError as error:
            raise NotNow(f"the model {spec.model} cannot be loaded here: {error.detail}") from error
        if backend.card.fingerprint != spec.fingerprint:
            # Its weights were changed since the job was planned; the dispatcher plans it anew from this card.
            self._cards.publish(backend.card)
            raise NotNow(f"the weights of {spec.model} are others than those the job was planned for")
        ordinals, versions, arrays = unpack(data)
        features = backend.infer(arrays, spec.features, progress)
        good = _rows_are_finite(features, len(arrays))
        uri_of = {sample.ordinal: sample.uri for sample in lease.samples}
        for feature, rows in features.items():
            key = FeatureKeys(spec, feature)
            self._cache.put_features(
                (key(uri_of[ordinals[i]], versions[i]), rows[i]) for i in np.flatnonzero(good).tolist()
            )
        failed = [FailedAt(ordinals[i], SampleCode.BAD_OUTPUT, "") for i in np.flatnonzero(~good).tolist()]
        return Made(b"", int(good.sum()), failed)

    def _backend(self, model: str) -> Backend:
        with self._lock:
            if model not in self._backends:
                self._backends[model] = open_backend(model, self._config)
            return self._backends[model]


def _rows_are_finite(features: Mapping[Feature, NDArray[np.float32]], count: int) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = np.ones(count, dtype=bool)
    for feature, rows in features.items():
        if len(rows) != count:
            raise ModelError(f"the model gave {len(rows)} rows of {feature} for {count} samples")
        good &= np.isfinite(rows.reshape(count, -1)).all(axis=1)
    return good
