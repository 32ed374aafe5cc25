"""Random pools with the features that a strategy asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies import Pool, Strategy

Features = dict[str, NDArray[Any]]
CLASSES, EMBEDDING_SIZE, LABELLED = 7, 12, 9


def probabilities(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Softmax of wide logits: many rows hold exact zeros and ones, as in real life."""
    logits = rng.normal(scale=60.0, size=(size, CLASSES)) * rng.random((size, 1)) ** 3
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float32))
    rows: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return rows


def embeddings(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Far from 0, with duplicates and near-duplicates that differ in float32's last bits."""
    rows = (100.0 + rng.normal(size=(size, EMBEDDING_SIZE))).astype(np.float32)
    third = size // 3
    rows[third : 2 * third] = rows[:third]
    rows[2 * third : 3 * third] = np.nextafter(rows[:third], np.float32(np.inf))
    return rows


FEATURES: dict[str, Callable[[np.random.Generator, int], NDArray[Any]]] = {
    "probabilities": probabilities,
    "embeddings": embeddings,
    "labelled_embeddings": lambda rng, size: embeddings(rng, LABELLED),
}


def sample_ids(size: int) -> list[str]:
    return [f"sample-{number}" for number in range(size)]


def features_for(strategy: Strategy, size: int, *, seed: int = 0, leave_out: Collection[str] = ()) -> Features:
    """What `strategy` needs and uses, less `leave_out`. A new feature gets its line in FEATURES first."""
    rng = np.random.default_rng([seed, size])
    wanted = sorted((strategy.needs | strategy.uses) - set(leave_out))
    missing = [name for name in wanted if name not in FEATURES]
    assert not missing, f"tests/support/pools.py does not know how to make {missing}"
    return {name: FEATURES[name](rng, size) for name in wanted}


def per_sample(features: Features) -> list[str]:
    """The names of the features with a row for each sample of the pool."""
    return [name for name in features if not name.startswith("labelled_")]


def reordered(ids: Sequence[str], features: Features, order: NDArray[np.int64], seed: int = 0) -> Pool:
    """The pool with its samples taken in `order`."""
    moved = {name: features[name][order] for name in per_sample(features)}
    return Pool([ids[row] for row in order], features | moved, seed)
