"""Random pools with the features that a strategy asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies import Pool, Strategy
from strategies.members import pass_sums as members_to_sums

Features = dict[str, NDArray[Any]]
CLASSES, EMBEDDING_SIZE, LABELLED, MEMBERS, BOXES = 7, 12, 9, 4, 6


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


def members(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Opinions of several models or passes; the first two rows are sure but opposite, the third agrees with itself."""
    rows = np.stack([probabilities(rng, size) for _ in range(MEMBERS)], axis=1)
    rows[:2] = np.eye(CLASSES, dtype=np.float32)[[number % 2 for number in range(MEMBERS)]]
    rows[2:3] = rows[2:3, :1]
    return rows


def pass_sums(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    return members_to_sums(members(rng, size)).astype(np.float32)


def boundary_distances(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Some on the boundary, some that never reached one."""
    rows = np.abs(rng.normal(size=(size, 1))).astype(np.float32)
    rows[:2], rows[2:4] = 0, np.finfo(np.float32).max
    return rows


def label_probabilities(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Sigmoids of wide logits: some labels are sure to the last bit."""
    rows: NDArray[np.float32] = (1 / (1 + np.exp(-rng.normal(scale=20.0, size=(size, CLASSES))))).astype(np.float32)
    return rows


def box_scores(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Of up to BOXES boxes, falling; some images have none, and some as many as there is room for."""
    rows = -np.sort(-rng.random((size, BOXES), dtype=np.float32), axis=1)
    return rows * (np.arange(BOXES) < rng.integers(0, BOXES + 1, size=(size, 1)))


FEATURES: dict[str, Callable[[np.random.Generator, int], NDArray[Any]]] = {
    "probabilities": probabilities,
    "embeddings": embeddings,
    "passes": members,
    "committee": members,
    "pass_sums": pass_sums,
    "boundary_distances": boundary_distances,
    "label_probabilities": label_probabilities,
    "box_scores": box_scores,
    "labelled_embeddings": lambda rng, size: embeddings(rng, LABELLED),
    "labelled_classes": lambda rng, size: (np.arange(LABELLED) % 3).astype(np.float32),
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
