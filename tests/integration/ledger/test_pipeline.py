"""What the pipeline does around a stage's work, with small stand-ins for the work and a real ledger and cache."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from alaas.errors import SampleCode, TransientSampleError, Unavailable
from alaas.jobs import Stage
from alaas_workers import pipeline as pipeline_module
from alaas_workers.cache import Cache
from alaas_workers.heart import Heart
from alaas_workers.ledger import FailedAt, Lease, Ledger, Unit
from alaas_workers.pipeline import Made, NotNow, Pipeline, StageWork, TooBig, token_prefix
from tests.support.ledger import (
    Notebook,
    admitted,
    claimed,
    config_for,
    contents,
    let_run_out,
    samples,
    the_job,
)
from tests.support.redis_server import RedisServer

SELECTION = Unit("job", Stage.SELECTION, "all")


class Fleet:
    """One worker of every stage, with `works` as what it does."""

    def __init__(self, url: str, hints: Notebook) -> None:
        self.config = config_for(url)
        self.ledger, self.cache, self.hints = Ledger.open(self.config), Cache.open(self.config), hints
        self.heart = Heart(self.ledger, self.config)
        self.pipeline = Pipeline(self.config, self.ledger, self.cache, hints, self.heart, "node")

    def run(self, unit: Unit, work: StageWork, delivery: str = "message") -> None:
        self.pipeline.run(unit, delivery, work)


@pytest.fixture
def fleet(redis_url: str, hints: Notebook) -> Fleet:
    return Fleet(redis_url, hints)


@pytest.fixture
def unit(fleet: Fleet) -> Unit:
    """A chunk of four samples, to be downloaded; the only one of its job."""
    return admitted(fleet.ledger, 4)


def passes(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
    return Made(data + lease.unit.stage.encode() + b" ", len(lease.samples), [])


def raises(error: BaseException) -> StageWork:
    def work(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        raise error

    return work


def never(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
    raise AssertionError("worked on a unit that it should not have had")


def at(unit: Unit, stage: Stage) -> Unit:
    return unit._replace(stage=stage)


def test_a_chunk_passes_all_stages_each_with_what_the_one_before_made(fleet: Fleet, unit: Unit) -> None:
    seen = []

    def notes(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        seen.append(data)
        return passes(lease, data, progress)

    for stage in (Stage.DOWNLOAD, Stage.PREPROCESS, Stage.INFERENCE):
        fleet.run(at(unit, stage), notes)
    assert seen == [b"", b"download ", b"download preprocess "]
    assert fleet.hints.sent == [at(unit, Stage.PREPROCESS), at(unit, Stage.INFERENCE), SELECTION]


def test_what_a_stage_took_is_dropped_when_it_is_done(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, passes)
    fleet.run(at(unit, Stage.PREPROCESS), passes)
    assert fleet.cache.take(unit) is None
    assert fleet.cache.take(at(unit, Stage.PREPROCESS)) == b"download preprocess "


def test_a_message_that_comes_twice_works_once(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, passes)
    before = contents(redis_of(fleet))
    fleet.run(unit, never)
    assert contents(redis_of(fleet)) == before
    assert fleet.hints.taken() == [at(unit, Stage.PREPROCESS)]


def test_a_message_for_a_unit_in_other_hands_is_dropped(fleet: Fleet, unit: Unit) -> None:
    claimed(fleet.ledger, unit, "another")
    fleet.run(unit, never)


def test_a_transient_error_gives_the_unit_back_uncounted(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, raises(NotNow("no memory on the device")))
    assert fleet.ledger.open_units() == ([unit], set())
    assert claimed(fleet.ledger, unit).attempts == 1


@pytest.mark.parametrize("error", [Unavailable("x"), TransientSampleError(SampleCode.UNREACHABLE)])
def test_every_kind_of_transient_error_is_uncounted(fleet: Fleet, unit: Unit, error: Exception) -> None:
    fleet.run(unit, raises(error))
    assert claimed(fleet.ledger, unit).attempts == 1


def test_a_unit_that_no_worker_can_work_on_fails_its_job_in_the_end(
    fleet: Fleet, unit: Unit, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "_MAX_PUT_OFFS", 2)
    for _ in range(3):
        assert the_job(fleet.ledger).problem is None
        fleet.run(unit, raises(NotNow("the weights are gone")))
    problem = the_job(fleet.ledger).problem
    assert problem is not None and "the weights are gone" in problem.detail


def test_what_is_away_is_waited_for_without_end(fleet: Fleet, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "_MAX_PUT_OFFS", 0)
    for _ in range(3):
        fleet.run(unit, raises(Unavailable("the cache is away")))
    assert the_job(fleet.ledger).problem is None


@pytest.mark.parametrize("error", [ValueError("bug"), MemoryError()])
def test_any_other_error_counts_and_ends_the_lease_at_once(fleet: Fleet, unit: Unit, error: Exception) -> None:
    fleet.run(unit, raises(error))
    (overdue,) = fleet.ledger.sweep()
    assert (overdue.unit, overdue.was_leased, overdue.attempts) == (unit, True, 1)


def test_what_vanished_from_the_cache_sends_the_chunk_back_to_download(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, passes)
    fleet.cache.drop(unit)
    fleet.hints.taken()
    fleet.run(at(unit, Stage.PREPROCESS), never)
    assert fleet.hints.taken() == [unit]
    assert claimed(fleet.ledger, unit).attempts == 1


def test_a_cache_that_loses_everything_fails_the_job_in_the_end(
    fleet: Fleet, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "_MAX_RETURNS", 2)
    for _ in range(3):
        fleet.run(unit, passes)
        fleet.cache.drop(unit)
        fleet.run(at(unit, Stage.PREPROCESS), never)
    problem = the_job(fleet.ledger).problem
    assert problem is not None and problem.code == "cache_too_small"


def test_a_chunk_whose_samples_all_failed_goes_no_further(fleet: Fleet, unit: Unit) -> None:
    failed = [FailedAt(sample.ordinal, SampleCode.NOT_FOUND, "") for sample in samples(4)]
    fleet.run(unit, lambda lease, data, progress: Made(b"", 0, failed))
    assert fleet.hints.taken() == [SELECTION]
    assert fleet.cache.take(unit) is None
    assert len(fleet.ledger.failures("job")) == 4


def test_a_chunk_of_too_many_bytes_is_split_uncounted(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, raises(TooBig("")))
    halves = fleet.hints.taken()
    assert [half.chunk for half in halves] == ["0.0", "0.1"]
    assert [claimed(fleet.ledger, half).attempts for half in halves] == [1, 1]


def test_a_chunk_that_redis_would_not_take_is_split(fleet: Fleet, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "_MAX_VALUE_BYTES", 5)
    fleet.run(unit, passes)
    assert [half.chunk for half in fleet.hints.taken()] == ["0.0", "0.1"]
    assert fleet.cache.take(unit) is None


def test_one_sample_that_is_too_big_by_itself_is_tried_no_more_than_others(fleet: Fleet) -> None:
    unit = admitted(fleet.ledger, 1)
    for attempt in range(1, 4):
        fleet.run(unit, raises(TooBig("")), f"message {attempt}")
        (overdue,) = fleet.ledger.sweep()
        assert overdue.attempts == attempt


def test_work_that_gave_its_unit_another_course_is_not_ended_as_well(fleet: Fleet, unit: Unit) -> None:
    fleet.run(unit, lambda lease, data, progress: None)
    assert fleet.ledger.open_units() == ([unit], {unit})


def test_a_worker_that_lost_its_lease_leaves_nothing_and_drops_nothing(
    fleet: Fleet, unit: Unit, client: redis.Redis
) -> None:
    fleet.run(unit, passes)
    fleet.hints.taken()
    unit = at(unit, Stage.PREPROCESS)
    taken_over = []

    def overtaken(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        let_run_out(client, unit)
        taken_over.append(claimed(fleet.ledger, unit, "another"))
        return passes(lease, data, progress)

    fleet.run(unit, overtaken)
    assert fleet.hints.taken() == []
    assert fleet.cache.take(at(unit, Stage.DOWNLOAD)) == b"download "
    assert fleet.ledger.beat(taken_over[0])


def test_a_worker_that_knows_of_its_lost_lease_stops_at_its_next_sign_of_progress(
    fleet: Fleet, unit: Unit, client: redis.Redis
) -> None:
    def overtaken(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        let_run_out(client, unit)
        claimed(fleet.ledger, unit, "another")
        fleet.heart.beat(list(fleet.heart._holds))
        progress()
        raise AssertionError("went on")

    fleet.run(unit, overtaken)
    assert fleet.cache.take(unit) is None


def test_what_a_worker_made_without_its_lease_is_not_put_into_the_cache(
    fleet: Fleet, unit: Unit, client: redis.Redis
) -> None:
    def overtaken(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        let_run_out(client, unit)
        claimed(fleet.ledger, unit, "another")
        fleet.heart.beat(list(fleet.heart._holds))
        return passes(lease, data, progress)

    fleet.run(unit, overtaken)
    assert fleet.cache.take(unit) is None


def test_a_parent_can_give_up_what_its_dead_child_held(fleet: Fleet, unit: Unit) -> None:
    def dies(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        fleet.ledger.abandon(unit, token_prefix("node", "message"))
        raise SystemExit

    with pytest.raises(SystemExit):
        fleet.run(unit, dies)
    assert [item.was_leased for item in fleet.ledger.sweep()] == [True]


# Redis goes away while the work is in hand


class RestartedRedis(RedisServer):
    """Keeps what it was told over a kill."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, appendonly="yes", appendfsync="always")
        self.timers: list[threading.Timer] = []

    def away_for(self, seconds: float) -> None:
        self.kill()
        self.timers.append(threading.Timer(seconds, self.start))
        self.timers[-1].start()

    def stop(self) -> None:
        for timer in self.timers:
            timer.join()  # or it would start a server that nobody stops
        super().stop()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RestartedRedis]:
    server = RestartedRedis(tmp_path)
    with server:
        yield server


def test_the_end_of_a_unit_waits_out_a_redis_that_restarts(durable: RestartedRedis, hints: Notebook) -> None:
    fleet = Fleet(durable.url, hints)
    unit = admitted(fleet.ledger, 4)
    failed = [FailedAt(sample.ordinal, SampleCode.NOT_FOUND, "") for sample in samples(4)]

    def restarts(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        durable.away_for(0.6)
        return Made(b"", 0, failed)  # nothing for the cache, which is the same Redis here

    fleet.run(unit, restarts)
    assert hints.taken() == [SELECTION]
    assert fleet.ledger.open_units() == ([SELECTION], set())


def test_a_unit_is_given_back_uncounted_though_redis_restarts(durable: RestartedRedis, hints: Notebook) -> None:
    fleet = Fleet(durable.url, hints)
    unit = admitted(fleet.ledger, 4)

    def restarts(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        durable.away_for(0.6)
        raise NotNow("")

    fleet.run(unit, restarts)
    assert claimed(fleet.ledger, unit).attempts == 1


def test_a_redis_that_stays_away_is_not_waited_for_longer_than_the_lease(
    durable: RestartedRedis, hints: Notebook
) -> None:
    fleet = Fleet(durable.url, hints)
    fleet.pipeline._pipeline = fleet.config.pipeline.model_copy(update={"lease_s": 0.3})
    unit = admitted(fleet.ledger, 4)

    def last(lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        durable.kill()
        return Made(b"", 0, [])

    with pytest.raises(Unavailable):
        fleet.run(unit, last)


def redis_of(fleet: Fleet) -> redis.Redis:
    return fleet.ledger._redis
