"""The engine of null models: features made from a digest of the bytes. The same everywhere, in constant time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from alaas.config import Config
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends.protocol import Arrays, Rows, empty_rows
from alaas_workers.models import configured_card
from alaas_workers.models.null_model import CLASSES, EMBEDDING_SIZE

_NUMBERS = CLASSES + EMBEDDING_SIZE
Numbers = npt.NDArray[np.uint16]


class NullBackend:
    """10 pseudo-probabilities and an embedding of 16 numbers in [-1, 1) for each array; loads no torch.

    Its passes are pseudo-probabilities of their own, and its distance to a boundary is a number in [0, 1); so are the
    probabilities of labels and the scores of boxes where it is to give these.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.card: ModelCard = configured_card(name, config)
        self._batch_size = config.models[name].batch_size
        self._passes = config.models[name].passes
        self._boxes = config.models[name].max_boxes
        self._key = blake2b(name.encode(), digest_size=16).digest()  # null models of other names give other numbers

    def infer(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> dict[Feature, Rows]:
        """See `Backend.infer`."""
        out = empty_rows(self.card, features, len(arrays))
        for start in range(0, len(arrays), self._batch_size):
            numbers = self._numbers(arrays[start : start + self._batch_size])
            for feature, rows in out.items():
                rows[start : start + self._batch_size] = self._made(feature, numbers)
            on_progress()
        return out

    def close(self) -> None:
        """Nothing to give back."""

    def _made(self, feature: Feature, numbers: Numbers) -> npt.NDArray[np.float64]:
        if feature is Feature.PROBABILITIES:
            return _probabilities(numbers)
        if feature is Feature.EMBEDDINGS:
            return _embeddings(numbers)
        if feature is Feature.BOUNDARY_DISTANCES:
            return numbers[:, -1:] / 65536
        if feature is Feature.LABEL_PROBABILITIES:
            return numbers[:, :CLASSES] / 65536
        if feature is Feature.BOX_SCORES:
            return _box_scores(numbers, self._boxes)
        passes = [_probabilities(_again(numbers, number)) for number in range(self._passes)]
        return np.concatenate(passes, axis=1) if feature is Feature.PASSES else _sums(passes)

    def _numbers(self, arrays: Arrays) -> Numbers:
        """(N, 26) uniform numbers, each row from its array's shape and bytes."""
        digests = b"".join(self._digest(array) for array in arrays)
        return np.frombuffer(digests, "<u2").reshape(len(arrays), _NUMBERS)

    def _digest(self, array: npt.NDArray[Any]) -> bytes:
        digest = blake2b(key=self._key, digest_size=2 * _NUMBERS)
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
        return digest.digest()


def _again(numbers: Numbers, number: int) -> Numbers:
    """(N, 10) others for a pass, each row from its row of `numbers`."""
    salt = number.to_bytes(8, "little")
    digests = [blake2b(row.tobytes(), salt=salt, digest_size=2 * CLASSES).digest() for row in numbers]
    return np.frombuffer(b"".join(digests), "<u2").reshape(len(numbers), CLASSES)


def _sums(passes: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """(N, 11): the mean of the passes, then their mean entropy in nats."""
    entropies = [-(rows * np.log(rows)).sum(axis=1, keepdims=True) for rows in passes]  # no row holds a zero
    return np.concatenate([sum(passes) / len(passes), sum(entropies) / len(passes)], axis=1)


def _probabilities(numbers: Numbers) -> npt.NDArray[np.float64]:
    # Powers of integers and one division round alike on every machine, which exponentials do not.
    weights = (numbers[:, :CLASSES].astype(np.float64) + 1) ** 3
    shares: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _box_scores(numbers: Numbers, boxes: int) -> npt.NDArray[np.float64]:
    """(N, boxes): up to CLASSES boxes of an image, falling; below one half, a number stands for no box."""
    found = np.where(numbers[:, :CLASSES] < 32768, 0, numbers[:, :CLASSES]) / 65536
    rows = np.zeros((len(numbers), boxes))
    rows[:, : min(CLASSES, boxes)] = -np.sort(-found, axis=1)[:, :boxes]
    return rows


def _embeddings(numbers: Numbers) -> npt.NDArray[np.float64]:
    return numbers[:, CLASSES:].astype(np.float64) / 32768 - 1
