"""Scores to ranks: highest score first, equal scores by a hash of seed and sample id.

No rank depends on where a sample stood in the input. Only ids whose scores tie are hashed: a hash is dear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Keys = NDArray[np.uint64]

SEED_LIMIT = 2**64


def hash_keys(ids: Iterable[str], seed: int, purpose: bytes = b"tie") -> Keys:
    """(N,) keys, spread evenly over 64 bits: blake2b of each id, salted with `seed` (0 to 2**64 - 1).

    `purpose` (up to 16 bytes): keys of another purpose are independent.
    """
    start = hashlib.blake2b(digest_size=8, salt=seed.to_bytes(16, "big"), person=purpose)
    digests = bytearray()
    for name in ids:
        digest = start.copy()
        digest.update(name.encode("utf-8", "surrogatepass"))
        digests += digest.digest()
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


class TieBreaker:
    """Keys by position in the pool, made when first asked for. The smaller key goes first."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        self._ids = ids
        self._seed = seed
        self._keys = np.zeros(len(ids), dtype=np.uint64)
        self._known = np.zeros(len(ids), dtype=np.bool_)

    def keys(self, indices: Indices) -> Keys:
        missing = indices[~self._known[indices]]
        if len(missing):
            self._keys[missing] = hash_keys(map(self._ids.__getitem__, missing.tolist()), self._seed)
            self._known[missing] = True
        return self._keys[indices]

    def ordered(self, indices: Indices) -> Indices:
        """`indices`, smallest key first."""
        if len(indices) < 2:
            return indices
        return indices[np.argsort(self.keys(indices), kind="stable")]

    def first(self, indices: Indices) -> int:
        """The one of `indices` (not empty) with the smallest key."""
        return int(indices[0] if len(indices) == 1 else indices[np.argmin(self.keys(indices))])


def top_indices(scores: NDArray[np.float64], count: int, ties: TieBreaker) -> Indices:
    """The min(count, N) best of `scores` (N,), finite, in rank order."""
    count = min(count, len(scores))
    if count == 0:
        return np.empty(0, dtype=np.int64)
    boundary = np.partition(scores, len(scores) - count)[len(scores) - count]
    candidates = np.flatnonzero(scores >= boundary)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    ranked = scores[candidates]
    is_tied = np.zeros(len(ranked), dtype=np.bool_)
    is_tied[1:] = ranked[1:] == ranked[:-1]
    is_tied[:-1] |= is_tied[1:]
    keys = np.zeros(len(ranked), dtype=np.uint64)
    keys[is_tied] = ties.keys(candidates[is_tied])
    return candidates[np.lexsort((keys, -ranked))[:count]]
