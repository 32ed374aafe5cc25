"""Planning over a real catalog: each sample that lacks features is admitted once, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import random
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alaas.errors import SampleCode, Unavailable
from alaas.jobs import Feature, Stage
from alaas_workers import keys
from alaas_workers.cache import Cache, FeatureKeys
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.ledger import FailedAt, JobSpec, Ledger, Outcome, Unit
from alaas_workers.ledger.units import unpack_samples
from alaas_workers.planner import Planner
from alaas_workers.sources import Sources
from tests.support.catalogs import OWNER, new_dataset, new_job, uris
from tests.support.ledger import Versions, claimed, config_for, the_job


class Room:
    """A catalog, a ledger and a cache, and planners over them."""

    def __init__(self, catalog: Catalog, url: str) -> None:
        self.url, self.catalog, self.sources = url, catalog, Versions()
        self.config = config_for(url)
        self.ledger, self.cache = Ledger.open(self.config), Cache.open(self.config)
        self.redis = self.ledger._redis
        self.made = 0

    def planner(self, chunk_size: int = 4) -> Planner:
        config = config_for(self.url, pipeline={"chunk_size": chunk_size})
        return Planner(config, self.catalog, self.ledger, self.cache, self.sources)

    def dataset(self, count: int) -> str:
        self.made += 1
        return new_dataset(self.catalog, count, name=f"{time.monotonic_ns()}")

    def opened(self, count: int = 0, *, dataset_id: str | None = None, strategy: str = "LeastConfidence") -> JobRecord:
        dataset_id = dataset_id or self.dataset(count)
        record = new_job(self.catalog, dataset_id=dataset_id, strategy={"type": strategy})
        features = (Feature.EMBEDDINGS,) if strategy == "KCenterSampling" else (Feature.PROBABILITIES,)
        spec = JobSpec(OWNER, record.dataset_id, "small", "f", "t", features)
        assert self.ledger.open_job(record.id, spec, record.unlabelled)
        return record

    def keep(self, record: JobRecord, ordinals: Iterable[int], version: str = "") -> None:
        """Features of these samples are in the cache."""
        spec = the_job(self.ledger, record.id).spec
        make = FeatureKeys(spec, spec.features[0])
        pool = {sample.ordinal: sample for sample in self.catalog.pool(record.id) + self.catalog.labelled(record.id)}
        self.cache.put_features((make(pool[at].uri, version), np.zeros(2, np.float32)) for at in ordinals)

    def plan(self, record: JobRecord, *planners: Planner) -> list[Unit]:
        """Let the planners take turns until the job is planned."""
        units: list[Unit] = []
        for turn in range(10_000):
            if (job := the_job(self.ledger, record.id)).planned:
                return units
            units += planners[turn % len(planners)].next_chunk(job)[1]
        raise AssertionError("never planned")

    def chunks(self, record: JobRecord) -> list[list[int]]:
        """Ordinals of the admitted chunks, in the order of their admission."""
        raw = cast(dict[bytes, bytes], self.redis.hgetall(keys.CHUNKS + record.id))
        held = {int(name): data for name, data in raw.items()}
        return [[sample.ordinal for sample in unpack_samples(held[number])] for number in sorted(held)]

    def admitted(self, record: JobRecord) -> list[int]:
        return [ordinal for chunk in self.chunks(record) for ordinal in chunk]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.sqlite'}") as catalog:
        yield catalog


@pytest.fixture
def room(catalog: Catalog, redis_url: str) -> Room:
    return Room(catalog, redis_url)


# Whatever the sizes


@settings(
    max_examples=25,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(1, 40), st.integers(1, 9), st.sets(st.integers(0, 39)), st.integers(1, 7))
def test_every_sample_that_lacks_features_is_admitted_once(
    room: Room, monkeypatch: pytest.MonkeyPatch, count: int, chunk_size: int, kept: set[int], page: int
) -> None:
    kept = {ordinal for ordinal in kept if ordinal < count}
    monkeypatch.setattr("alaas_workers.planner.PAGE", page)
    record = room.opened(count)
    room.keep(record, kept)
    room.plan(record, room.planner(chunk_size))
    assert room.admitted(record) == [ordinal for ordinal in range(count) if ordinal not in kept]
    assert the_job(room.ledger, record.id).cached == len(kept)
    assert all(len(chunk) == chunk_size for chunk in room.chunks(record)[:-1])
    room.redis.flushall()


def test_the_hint_of_each_chunk_is_for_download(room: Room) -> None:
    record = room.opened(9)
    assert room.plan(record, room.planner(4)) == [Unit(record.id, Stage.DOWNLOAD, chunk) for chunk in "012"]


def test_a_pool_that_is_known_already_goes_straight_to_its_selection(room: Room) -> None:
    record = room.opened(9)
    room.keep(record, range(9))
    assert room.plan(record, room.planner(4)) == [Unit(record.id, Stage.SELECTION, "all")]


def test_a_job_that_needs_no_features_goes_straight_to_its_selection(room: Room) -> None:
    record = new_job(room.catalog, dataset_id=room.dataset(9), strategy={"type": "RandomSampling"})
    room.ledger.open_job(record.id, JobSpec(OWNER, record.dataset_id, "small", "", "", ()), 9)
    assert [unit.stage for unit in room.plan(record, room.planner(4))] == [Stage.SELECTION]


def test_what_is_found_and_what_lacks_is_counted(room: Room) -> None:
    record = room.opened(9)
    room.keep(record, [1, 8])
    room.plan(record, room.planner(4))
    metrics = room.ledger.metrics()
    assert (metrics.cache_hits, metrics.cache_misses) == (2, 7)


# Whoever plans


def test_two_planners_at_once_never_admit_a_sample_twice(room: Room) -> None:
    record = room.opened(50)
    room.plan(record, room.planner(4), room.planner(4), room.planner(3))
    assert room.admitted(record) == list(range(50))


def test_a_planner_that_was_overtaken_admits_nothing(room: Room) -> None:
    record, slow, quick = room.opened(20), room.planner(4), room.planner(4)
    seen = the_job(room.ledger, record.id)
    quick.next_chunk(seen)
    assert slow.next_chunk(seen)[1] == []
    assert room.admitted(record) == [0, 1, 2, 3]


def test_another_planner_goes_on_where_the_ledger_says(room: Room) -> None:
    record = room.opened(20)
    room.planner(4).next_chunk(the_job(room.ledger, record.id))
    room.plan(record, room.planner(4))
    assert room.admitted(record) == list(range(20))


@pytest.mark.parametrize("broken", ["admit", "present", "version"])
def test_no_sample_is_skipped_when_something_is_away_in_the_middle(
    room: Room, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr("alaas_workers.planner.PAGE", 3)
    record, planner = room.opened(20), room.planner(5)
    owner = {"admit": room.ledger, "present": room.cache, "version": room.sources}[broken]
    works, luck, troubles = getattr(owner, broken), random.Random(7), []

    def sometimes_away(*arguments: object) -> object:
        if luck.random() < 0.2:
            troubles.append(broken)
            raise Unavailable("")
        return works(*arguments)

    monkeypatch.setattr(owner, broken, sometimes_away)
    while not (job := the_job(room.ledger, record.id)).planned:
        with contextlib.suppress(Unavailable):
            planner.next_chunk(job)
    assert troubles
    assert room.admitted(record) == list(range(20))


def test_an_admission_whose_reply_was_lost_is_not_made_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    record, planner, admit = room.opened(12), room.planner(4), room.ledger.admit

    def reply_lost(*arguments: object) -> object:
        admit(*arguments)  # type: ignore[arg-type]
        raise Unavailable("")

    with monkeypatch.context() as patched:
        patched.setattr(room.ledger, "admit", reply_lost)
        with pytest.raises(Unavailable):
            planner.next_chunk(the_job(room.ledger, record.id))
    room.plan(record, planner)
    assert room.admitted(record) == list(range(12))


def test_a_job_that_starts_anew_is_looked_at_anew(room: Room) -> None:
    """Other weights: what was in the cache for the old ones is missing now, at the very same cursor."""
    record, planner = room.opened(20), room.planner(4)
    room.keep(record, range(10, 20))
    job = the_job(room.ledger, record.id)
    planner.next_chunk(job)
    room.ledger.forget(record.id)
    spec = JobSpec(OWNER, record.dataset_id, "small", "other weights", "t", (Feature.PROBABILITIES,))
    room.ledger.open_job(record.id, spec, 20)
    room.planner(4).next_chunk(the_job(room.ledger, record.id))
    room.plan(record, planner)
    assert room.admitted(record) == list(range(20))


def test_a_ledger_that_lost_its_last_second_is_believed(room: Room, client: redis.Redis) -> None:
    record, planner = room.opened(20), room.planner(4)
    planner.next_chunk(the_job(room.ledger, record.id))
    before = {name: client.dump(name) for name in client.keys("*")}
    planner.next_chunk(the_job(room.ledger, record.id))
    client.flushall()
    for name, value in before.items():
        client.restore(name, 0, cast(bytes, value))
    room.plan(record, planner)
    assert room.admitted(record) == list(range(20))


def test_planning_leaves_nothing_in_the_planner(room: Room) -> None:
    record, planner = room.opened(20), room.planner(4)
    room.plan(record, planner)
    assert (planner._looks, planner._wants_labelled) == ({}, {})


# Rounds


def planned_anew(room: Room, record: JobRecord) -> None:
    """All chunks ended and the selection found features gone."""
    for number in range(len(room.chunks(record))):
        lease = claimed(room.ledger, Unit(record.id, Stage.DOWNLOAD, str(number)))
        bad = [FailedAt(sample.ordinal, SampleCode.NOT_FOUND, "") for sample in lease.samples if sample.ordinal == 5]
        room.ledger.done(lease, None, Outcome(0, bad), 0.1)
    room.ledger.replan(claimed(room.ledger, Unit(record.id, Stage.SELECTION, "all")))


def test_a_later_round_scans_what_vanished_and_not_what_failed(room: Room) -> None:
    record, planner = room.opened(12), room.planner(4)
    room.plan(record, planner)
    planned_anew(room, record)
    room.keep(record, [0, 1, 2, 3, 4, 6, 7, 8])
    room.plan(record, planner)
    assert room.admitted(record) == [9, 10, 11]


def test_a_later_round_does_not_count_the_found_again(room: Room) -> None:
    record, planner = room.opened(12), room.planner(4)
    room.plan(record, planner)
    planned_anew(room, record)
    room.keep(record, range(12))
    room.plan(record, planner)
    assert the_job(room.ledger, record.id).cached == 0


# Labelled samples


@pytest.fixture
def half_labelled(room: Room) -> str:
    dataset_id = room.dataset(10)
    room.catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(10)[1::2]})
    return dataset_id


def test_labelled_samples_come_after_the_pool_where_the_strategy_looks_at_them(room: Room, half_labelled: str) -> None:
    record = room.opened(dataset_id=half_labelled, strategy="KCenterSampling")
    room.plan(record, room.planner(3))
    assert room.chunks(record) == [[0, 2, 4], [6, 8, 1], [3, 5, 7], [9]]


def test_labelled_samples_are_left_alone_where_it_does_not(room: Room, half_labelled: str) -> None:
    record = room.opened(dataset_id=half_labelled)
    room.plan(record, room.planner(3))
    assert room.admitted(record) == [0, 2, 4, 6, 8]


def test_planning_goes_on_within_the_labelled_samples(
    room: Room, half_labelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alaas_workers.planner.PAGE", 2)
    record = room.opened(dataset_id=half_labelled, strategy="KCenterSampling")
    for _ in range(20):
        if (job := the_job(room.ledger, record.id)).planned:
            break
        room.planner(2).next_chunk(job)
    assert room.admitted(record) == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]


# Versions


def test_what_the_source_says_now_goes_with_the_chunk_and_into_the_catalog(room: Room) -> None:
    record = room.opened(3)
    room.sources.now = {uris(3)[1]: "9-1"}
    room.plan(record, room.planner())
    lease = claimed(room.ledger, Unit(record.id, Stage.DOWNLOAD, "0"))
    assert [sample.version for sample in lease.samples] == ["", "9-1", ""]
    assert [sample.version for sample in room.catalog.pool(record.id)] == ["", "9-1", ""]


def test_a_file_that_changed_is_scanned_again(room: Room) -> None:
    dataset_id = room.dataset(3)
    room.sources.now = {uri: "old" for uri in uris(3)}
    record = room.opened(dataset_id=dataset_id)
    room.keep(record, range(3), "old")
    room.sources.now[uris(3)[1]] = "new"
    room.plan(record, room.planner())
    assert room.admitted(record) == [1]


def test_the_version_of_a_real_file_follows_its_bytes(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    config = config_for(room.url, sources={"file": {"roots": [str(tmp_path)]}})
    sources = Sources(config)
    before = sources.version(path.as_uri(), OWNER)
    path.write_bytes(b"longer")
    assert "" != before != sources.version(path.as_uri(), OWNER)
    sources.close()


# Large pools


def test_a_pool_of_fifty_thousand_is_planned_quickly_and_in_little_memory(room: Room) -> None:
    record, planner = room.opened(50_000), room.planner(128)
    started = time.perf_counter()
    room.plan(record, planner)
    assert time.perf_counter() - started < 15
    assert sum(len(chunk) for chunk in room.chunks(record)) == 50_000


def test_planning_holds_two_pages_at_most(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alaas_workers.planner.PAGE", 512)
    record, planner = room.opened(20 * 512), room.planner(128)
    planner.next_chunk(the_job(room.ledger, record.id))
    tracemalloc.start()
    try:
        for _ in range(60):
            planner.next_chunk(the_job(room.ledger, record.id))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * 512 * 1500
    assert len(planner._looks[record.id].ahead) <= 2 * 512
