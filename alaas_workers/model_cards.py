"""What is known of each model: its configuration, completed by the inference worker that has loaded it.

So the API and the dispatcher know a model's outputs and fingerprint without loading torch.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import cast

import redis

from alaas.config import Config
from alaas.errors import NotFound
from alaas.jobs import Feature, ModelCard
from alaas_workers import keys
from alaas_workers.redis_client import connect, guarded


class ModelCards:
    """One per process; thread-safe."""

    def __init__(self, client: redis.Redis, config: Config) -> None:
        self._redis = client
        self._config = config

    @classmethod
    def open(cls, config: Config) -> ModelCards:
        url = config.broker.url.get_secret_value() if config.broker.url else None
        return cls(connect(url, what="broker.url"), config)

    def names(self) -> list[str]:
        return list(self._config.models)

    @guarded("ledger")
    def get(self, name: str) -> ModelCard:
        """Raises NotFound for a model that the configuration does not name."""
        if name not in self._config.models:
            raise NotFound(f"no model {name!r:.80}", field="model")
        data = cast(bytes | None, self._redis.hget(keys.MODELS, self._field(name)))
        if data is None:
            return ModelCard(name=name, modality=self._config.models[name].modality)
        return ModelCard.model_validate_json(data)

    @guarded("ledger")
    def publish(self, card: ModelCard) -> None:
        self._redis.hset(keys.MODELS, self._field(card.name), card.model_dump_json())

    @guarded("ledger")
    def clear_error(self, name: str) -> None:
        """A worker that starts tries again what another could not load."""
        if self.get(name).error is not None:
            self._redis.hdel(keys.MODELS, self._field(name))

    def _field(self, name: str) -> str:
        # Another configuration of the same name is another model.
        digest = blake2b(self._config.models[name].model_dump_json().encode(), digest_size=8).hexdigest()
        return f"{name} {digest}"


def row_bytes(card: ModelCard, feature: Feature) -> int:
    """Bytes of one sample's feature as the cache keeps it (float32)."""
    return 4 * card.width(feature)
