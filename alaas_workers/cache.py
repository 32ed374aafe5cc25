"""The cache's Redis: what passes between stages, and features by sample. Anything here may vanish at any time.

A feature's key covers owner, URI, version, weights, transform, kind and dtype, so that nothing stale is ever found and
no owner sees another's. Its value is the bare row of float32, since 40 bytes need no header of 70.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import cast

import numpy as np
import redis
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from alaas.config import Config
from alaas.jobs import OF_PASSES, Feature
from alaas_workers import keys
from alaas_workers.ledger.units import JobSpec, Unit
from alaas_workers.redis_client import connect, guarded, memory_bytes

_SLICE = 1000  # keys of one command: large enough to be cheap, small enough not to hold Redis up
_OVERHEAD_BYTES = 120  # of one key in Redis, beside its value


class Cache:
    """One per process; thread-safe. Raises Unavailable when its Redis is away."""

    def __init__(self, client: redis.Redis, config: Config) -> None:
        self._redis = client
        self._intermediate_ttl_s = config.cache.intermediate_ttl_s
        self._feature_ttl_s = config.cache.feature_ttl_s

    @classmethod
    def open(cls, config: Config) -> Cache:
        url = config.cache.url.get_secret_value() if config.cache.url else None
        return cls(connect(url, what="cache.url", timeout_s=10.0), config)

    @guarded("cache")
    def ping(self) -> None:
        self._redis.ping()

    # Between stages.

    @guarded("cache")
    def put(self, unit: Unit, data: bytes) -> None:
        """Keep what `unit` made for the stage after it."""
        self._redis.set(keys.intermediate(unit.job, unit.chunk, unit.stage), data, ex=self._intermediate_ttl_s)

    @guarded("cache")
    def take(self, unit: Unit) -> bytes | None:
        """What `unit` made, or None when it is gone. It stays until `drop`, since its taker may die."""
        return cast(bytes | None, self._redis.get(keys.intermediate(unit.job, unit.chunk, unit.stage)))

    @guarded("cache")
    def drop(self, unit: Unit) -> None:
        self._redis.delete(keys.intermediate(unit.job, unit.chunk, unit.stage))

    # Features.

    @guarded("cache")
    def present(self, feature_keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """For each key, whether its feature is there. (N,) bool."""
        found = np.zeros(len(feature_keys), dtype=bool)
        slices = [slice(start, start + _SLICE) for start in range(0, len(feature_keys), _SLICE)]
        with self._redis.pipeline(transaction=False) as pipe:
            for part in slices:
                pipe.exists(*feature_keys[part])
            counts = pipe.execute()
        for part, count in zip(slices, counts, strict=True):
            if count == len(feature_keys[part]):
                found[part] = True
            elif count:
                # EXISTS counts without telling which; only a slice that is partly there is asked key by key.
                with self._redis.pipeline(transaction=False) as pipe:
                    for key in feature_keys[part]:
                        pipe.exists(key)
                    found[part] = pipe.execute()
        return found

    @guarded("cache")
    def put_features(self, rows: Iterable[tuple[bytes, NDArray[np.float32]]]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for key, row in rows:
                pipe.set(key, row.astype("<f4", copy=False).tobytes(), ex=self._feature_ttl_s)
            pipe.execute()

    @guarded("cache")
    def features(self, feature_keys: Sequence[bytes], width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rows of float32 for the keys: (N, width), zero where missing; and which are there: (N,) bool.

        A row of another width (a damaged value) counts as missing.
        """
        rows = np.zeros((len(feature_keys), width), dtype=np.float32)
        there = np.zeros(len(feature_keys), dtype=bool)
        for start in range(0, len(feature_keys), _SLICE):
            part = feature_keys[start : start + _SLICE]
            values = cast(list[bytes | None], self._redis.mget(part))
            good = [value is not None and len(value) == 4 * width for value in values]
            if any(good):
                joined = b"".join(value for value, is_good in zip(values, good, strict=True) if is_good and value)
                there[start : start + len(part)] = good
                rows[start : start + len(part)][good] = np.frombuffer(joined, dtype="<f4").reshape(-1, width)
        return rows, there

    @guarded("cache")
    def room_bytes(self) -> int | None:
        """The memory limit of the cache's Redis; None when it has none that we may know."""
        return memory_bytes(self._redis)[1] or None


class FeatureKeys:
    """Makes the key of each sample's feature for one job's owner, and its model and transform: of the first member."""

    def __init__(self, spec: JobSpec, feature: Feature) -> None:
        # Encoded so that no two lists of words read the same when they are put one after the other.
        kind = [feature, spec.passes] if feature in OF_PASSES else feature
        space = json.dumps([spec.owner, spec.fingerprint, spec.transform, kind, "float32"])
        self._space = blake2b(space.encode(), digest_size=32).digest()

    def __call__(self, uri: str, version: str) -> bytes:
        return keys.FEATURE + blake2b(f"{len(uri)} {uri}{version}".encode(), digest_size=16, key=self._space).digest()


def feature_cost_bytes(row_bytes: int) -> int:
    """What one sample's feature takes in Redis, key and all."""
    return row_bytes + _OVERHEAD_BYTES


def pack(ordinals: Sequence[int], versions: Sequence[str], arrays: Sequence[NDArray[np.uint8]]) -> bytes:
    """Arrays of one chunk as safetensors: those of one shape are stacked, so that 128 small images are one tensor."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, array in enumerate(arrays):
        groups.setdefault(array.shape, []).append(place)
    tensors = {str(number): np.stack([arrays[i] for i in places]) for number, places in enumerate(groups.values())}
    order = json.dumps({"ordinals": list(ordinals), "versions": list(versions), "groups": list(groups.values())})
    return save_tensors(tensors, metadata={"order": order})


def join_packs(packs: Sequence[bytes]) -> bytes:
    """One value of several packs, such as one for each transform of a committee; of one pack it is that pack."""
    if len(packs) == 1:
        return packs[0]
    return b"".join(part for pack in packs for part in (len(pack).to_bytes(8, "little"), pack))


def split_packs(data: bytes, count: int) -> list[bytes]:
    """The inverse of `join_packs` for `count` packs. Raises ValueError for bytes that are not so many."""
    if count == 1:
        return [data]
    packs, at = [], 0
    for _ in range(count):
        end = at + 8 + int.from_bytes(data[at : at + 8], "little")
        packs.append(data[at + 8 : end])
        at = end
    if at != len(data):
        raise ValueError("not the packs of a chunk")
    return packs


def unpack(data: bytes) -> tuple[list[int], list[str], list[NDArray[np.uint8]]]:
    """The inverse of `pack`. Raises ValueError for bytes that are not such a pack."""
    try:
        tensors = load_tensors(data)
        header_bytes = int.from_bytes(data[:8], "little")
        order = json.loads(json.loads(data[8 : 8 + header_bytes])["__metadata__"]["order"])
        placed = {
            place: row
            for number, places in enumerate(order["groups"])
            for row, place in zip(tensors[str(number)], places, strict=True)
        }
        chunk = [
            (ordinal, version, placed[place])
            for place, (ordinal, version) in enumerate(zip(order["ordinals"], order["versions"], strict=True))
        ]
    except (SafetensorError, LookupError, TypeError) as error:
        raise ValueError("not a chunk's arrays") from error
    return [item[0] for item in chunk], [item[1] for item in chunk], [item[2] for item in chunk]
