"""The cache: chunks packed and unpacked, features by sample, and that all of it may vanish."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from alaas.errors import Unavailable
from alaas.jobs import Feature, Stage
from alaas_workers.cache import Cache, FeatureKeys, pack, unpack
from alaas_workers.ledger import Unit
from tests.support.ledger import SPEC, config_for
from tests.support.redis_server import RedisServer

UNIT = Unit("job", Stage.DOWNLOAD, "0")
BYTES = arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
UNHURRIED = settings(deadline=None, derandomize=bool(os.environ.get("CI")))
texts = st.text(max_size=6)


def key(number: int) -> bytes:
    return FeatureKeys(SPEC, Feature.EMBEDDINGS)(f"file:///{number}", "")


def row(number: int, width: int = 4) -> NDArray[np.float32]:
    return np.full(width, number, dtype=np.float32)


# Chunks


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 2**53), texts, BYTES), max_size=12))
def test_what_is_packed_comes_back_in_order(chunk: list[tuple[int, str, NDArray[np.uint8]]]) -> None:
    ordinals, versions, images = [item[0] for item in chunk], [item[1] for item in chunk], [item[2] for item in chunk]
    back = unpack(pack(ordinals, versions, images))
    assert back[:2] == (ordinals, versions)
    for before, after in zip(images, back[2], strict=True):
        np.testing.assert_array_equal(before, after)


def test_images_of_one_shape_are_one_tensor() -> None:
    images = [np.zeros((3, 8, 8), np.uint8), np.zeros((3, 4, 4), np.uint8)] * 50
    packed = pack(list(range(100)), [""] * 100, images)
    assert len(packed) < sum(image.nbytes for image in images) + 2000  # a hundred tensors take 6,000


@UNHURRIED
@given(st.binary(max_size=300))
def test_bytes_that_are_no_chunk_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(data)


CHUNK = pack(
    [1, 2, 3], ["a", "b", "c"], [np.arange(4, dtype=np.uint8), np.zeros((2, 2), np.uint8)] * 1 + [np.ones(4, np.uint8)]
)


@UNHURRIED
@given(st.integers(0, len(CHUNK) - 1), st.integers(1, 255))
def test_a_damaged_chunk_is_refused_or_read_but_never_breaks_otherwise(place: int, change: int) -> None:
    damaged = bytearray(CHUNK)
    damaged[place] ^= change
    try:
        assert len(unpack(bytes(damaged))[2]) == 3
    except ValueError:
        pass


def test_a_chunk_that_ends_early_is_refused() -> None:
    for end in range(len(CHUNK)):
        with pytest.raises(ValueError):
            unpack(CHUNK[:end])


def test_what_was_put_stays_until_it_is_dropped(cache: Cache) -> None:
    cache.put(UNIT, b"data")
    assert (cache.take(UNIT), cache.take(UNIT)) == (b"data", b"data")
    cache.drop(UNIT)
    assert cache.take(UNIT) is None


def test_units_do_not_read_each_others_data(cache: Cache) -> None:
    cache.put(UNIT, b"data")
    for other in (UNIT._replace(job="jo"), UNIT._replace(chunk="00"), UNIT._replace(stage=Stage.PREPROCESS)):
        assert cache.take(other) is None


# Features


def test_features_come_back_as_they_were_put(cache: Cache) -> None:
    cache.put_features((key(number), row(number)) for number in range(3))
    rows, there = cache.features([key(2), key(0), key(1)], 4)
    np.testing.assert_array_equal(rows, [row(2), row(0), row(1)])
    assert there.all() and rows.dtype == np.float32


def test_features_that_are_missing_are_told_and_zero(cache: Cache) -> None:
    cache.put_features([(key(1), row(1))])
    rows, there = cache.features([key(0), key(1)], 4)
    assert there.tolist() == [False, True]
    np.testing.assert_array_equal(rows[0], np.zeros(4))


@pytest.mark.parametrize("damage", [b"", b"abc", row(1, 3).tobytes(), row(1, 5).tobytes()])
def test_a_feature_of_another_width_counts_as_missing(cache: Cache, client: redis.Redis, damage: bytes) -> None:
    cache.put_features([(key(0), row(0)), (key(2), row(2))])
    client.set(key(1), damage, ex=60)
    rows, there = cache.features([key(0), key(1), key(2)], 4)
    assert there.tolist() == [True, False, True]
    np.testing.assert_array_equal(rows[2], row(2))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_features_are_kept_as_float32_whatever_they_came_as(cache: Cache, dtype: Any) -> None:
    cache.put_features([(key(0), np.array([0.5, -2.0], dtype=dtype))])
    rows, _ = cache.features([key(0)], 2)
    np.testing.assert_array_equal(rows, [[0.5, -2.0]])


def test_features_of_a_large_pool_are_read_over_many_commands(cache: Cache) -> None:
    cache.put_features((key(number), row(number, 2)) for number in range(0, 2500, 2))
    rows, there = cache.features([key(number) for number in range(2500)], 2)
    assert there.tolist() == [number % 2 == 0 for number in range(2500)]
    np.testing.assert_array_equal(rows[2400], row(2400, 2))


def test_no_features_are_asked_for_an_empty_pool(cache: Cache) -> None:
    assert cache.features([], 4)[0].shape == (0, 4)
    assert cache.present([]).shape == (0,)


@settings(UNHURRIED, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(missing=st.sets(st.integers(0, 2099), max_size=3))
def test_presence_is_told_of_each_sample_also_in_slices_that_are_partly_there(cache: Cache, missing: set[int]) -> None:
    every = [key(number) for number in range(2100)]
    cache.put_features((name, row(0, 1)) for number, name in enumerate(every) if number not in missing)
    for number in missing:
        cache._redis.delete(every[number])
    assert set(np.flatnonzero(~cache.present(every)).tolist()) == missing


# Names


@UNHURRIED
@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=2, unique=True))
def test_two_samples_never_share_a_key(pairs: list[tuple[str, str]]) -> None:
    make = FeatureKeys(SPEC, Feature.EMBEDDINGS)
    assert make(*pairs[0]) != make(*pairs[1])


@pytest.mark.parametrize(
    "one, other", [(("a", "b"), ("ab", "")), (("a\0b", ""), ("a", "b")), (("1", "2 3"), ("1 2", "3"))]
)
def test_a_uri_and_its_version_are_told_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    make = FeatureKeys(SPEC, Feature.EMBEDDINGS)
    assert make(*one) != make(*other)


SPACES = st.builds(replace, st.just(SPEC), owner=texts, fingerprint=texts, transform=texts)


@UNHURRIED
@given(st.lists(st.tuples(SPACES, st.sampled_from(Feature)), min_size=2, max_size=2, unique_by=repr))
def test_owner_weights_transform_and_kind_each_have_keys_of_their_own(pairs: list[tuple[Any, Feature]]) -> None:
    one, other = (FeatureKeys(*pair)("file:///a", "1") for pair in pairs)
    assert one != other


def test_features_are_shared_by_datasets_and_jobs_of_one_owner() -> None:
    elsewhere = replace(SPEC, dataset_id="e" * 32, model="the same weights by another name")
    assert FeatureKeys(SPEC, Feature.EMBEDDINGS)("u", "") == FeatureKeys(elsewhere, Feature.EMBEDDINGS)("u", "")


# Nothing stays for ever


def test_everything_in_the_cache_has_an_end(cache: Cache, client: redis.Redis) -> None:
    cache.put(UNIT, b"data")
    cache.put_features([(key(0), row(0))])
    ends = {name: client.ttl(name) for name in client.scan_iter("*")}
    assert len(ends) == 2 and all(end > 0 for end in ends.values())


def test_what_the_cache_had_to_give_up_is_missing_and_no_error(tmp_path: Path) -> None:
    with RedisServer(tmp_path, maxmemory="3mb", maxmemory_policy="allkeys-lru") as server:
        cache = Cache.open(config_for(server.url))
        cache.put_features((key(number), row(number, 256)) for number in range(4000))
        rows, there = cache.features([key(number) for number in range(4000)], 256)
        assert 0 < there.sum() < 4000
        np.testing.assert_array_equal(rows[there][:, 0], np.flatnonzero(there))
        present = cache.present([key(number) for number in range(4000)])
        assert present.any() and not (present & ~there).any()  # reading makes Redis give up some more


def test_a_cache_that_is_full_and_gives_nothing_up_is_unavailable(tmp_path: Path) -> None:
    with RedisServer(tmp_path, maxmemory="2mb", maxmemory_policy="noeviction") as server:
        cache = Cache.open(config_for(server.url))
        with pytest.raises(Unavailable):
            for number in range(100):
                cache.put(UNIT._replace(chunk=str(number)), bytes(200_000))


def test_a_full_cache_refuses_features_as_well(tmp_path: Path) -> None:
    with RedisServer(tmp_path, maxmemory="2mb", maxmemory_policy="noeviction") as server:
        cache = Cache.open(config_for(server.url))
        with pytest.raises(Unavailable):
            cache.put_features((key(number), row(number, 256)) for number in range(4000))


def test_room_is_the_limit_of_the_caches_redis(cache: Cache, tmp_path: Path) -> None:
    assert cache.room_bytes() is None
    with RedisServer(tmp_path, maxmemory="64mb") as server:
        assert Cache.open(config_for(server.url)).room_bytes() == 64 * 2**20
