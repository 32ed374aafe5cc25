"""The engine of null models: features made from a digest of the bytes. The same everywhere, in constant time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from alaas.config import Config
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends.protocol import Arrays, Rows, empty_rows
from alaas_workers.models import configured_card
from alaas_workers.models.null_model import CLASSES, EMBEDDING_SIZE

_NUMBERS = CLASSES + EMBEDDING_SIZE


class NullBackend:
    """10 pseudo-probabilities and an embedding of 16 numbers in [-1, 1) for each array; loads no torch."""

    def __init__(self, name: str, config: Config) -> None:
        self.card: ModelCard = configured_card(name, config)
        self._batch_size = config.models[name].batch_size
        self._key = blake2b(name.encode(), digest_size=16).digest()  # null models of other names give other numbers

    def infer(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> dict[Feature, Rows]:
        """See `Backend.infer`."""
        out = empty_rows(self.card, features, len(arrays))
        for start in range(0, len(arrays), self._batch_size):
            numbers = self._numbers(arrays[start : start + self._batch_size])
            made = {Feature.PROBABILITIES: _probabilities, Feature.EMBEDDINGS: _embeddings}
            for feature, rows in out.items():
                rows[start : start + self._batch_size] = made[feature](numbers)
            on_progress()
        return out

    def close(self) -> None:
        """Nothing to give back."""

    def _numbers(self, arrays: Arrays) -> npt.NDArray[np.uint16]:
        """(N, 26) uniform numbers, each row from its array's shape and bytes."""
        digests = b"".join(self._digest(array) for array in arrays)
        return np.frombuffer(digests, "<u2").reshape(len(arrays), _NUMBERS)

    def _digest(self, array: npt.NDArray[np.uint8]) -> bytes:
        digest = blake2b(key=self._key, digest_size=2 * _NUMBERS)
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
        return digest.digest()


def _probabilities(numbers: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    # Powers of integers and one division round alike on every machine, which exponentials do not.
    weights = (numbers[:, :CLASSES].astype(np.float64) + 1) ** 3
    shares: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _embeddings(numbers: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    return numbers[:, CLASSES:].astype(np.float64) / 32768 - 1
