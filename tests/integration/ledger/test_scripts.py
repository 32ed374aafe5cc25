"""Each script of the ledger by itself: what it does, whom it refuses, and that a lost reply does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from alaas.errors import SampleCode, Unavailable
from alaas.jobs import SCAN_STAGES, Problem, Stage
from alaas_workers import keys
from alaas_workers.ledger import FailedAt, JobLedger, Lease, Ledger, Outcome, Unit
from tests.support.ledger import (
    SPEC,
    admitted,
    claimed,
    config_for,
    contents,
    left_over,
    let_run_out,
    opened,
    samples,
    the_job,
)
from tests.support.lossy_proxy import LossyProxy
from tests.support.redis_server import RedisServer

PROBLEM = Problem(title="t", status=500, code="first", detail="d")
SELECTION = Unit("job", Stage.SELECTION, "all")


def passed(ledger: Ledger, unit: Unit, follows: Stage | None, size_bytes: int = 0) -> Unit | None:
    """The hint after a unit whose samples all passed."""
    lease = claimed(ledger, unit, f"token of {unit}")
    finished, hint = ledger.done(lease, follows, Outcome(len(lease.samples), [], size_bytes), 0.1)
    assert finished
    return hint


def scanned(ledger: Ledger, unit: Unit) -> Unit | None:
    """The hint after a chunk that passed all stages."""
    passed(ledger, unit, Stage.PREPROCESS)
    passed(ledger, unit._replace(stage=Stage.PREPROCESS), Stage.INFERENCE)
    return passed(ledger, unit._replace(stage=Stage.INFERENCE), None)


def done_counts(ledger: Ledger) -> list[int]:
    progress = ledger.progress("job")
    assert progress is not None
    return [progress.stages[stage].done for stage in SCAN_STAGES]


# Jobs and their planning


def test_a_job_is_opened_once(ledger: Ledger) -> None:
    assert ledger.open_job("job", SPEC, 4)
    assert not ledger.open_job("job", SPEC, 9)
    assert the_job(ledger).total == 4


def test_a_job_comes_back_as_it_was_opened(ledger: Ledger) -> None:
    job = opened(ledger)
    assert (job.spec, job.state, job.cursor, job.planned, job.round) == (SPEC, "planning", -1, False, 0)


def test_of_two_dispatchers_that_saw_the_same_cursor_one_admits(ledger: Ledger) -> None:
    job = opened(ledger)
    assert ledger.admit(job, 1, False, samples(2), 0) == (True, [Unit("job", Stage.DOWNLOAD, "0")])
    assert ledger.admit(job, 3, True, samples(4), 0) == (False, [])
    assert the_job(ledger).cursor == 1


def test_a_job_that_started_anew_takes_no_chunk_that_was_planned_for_the_old_one(ledger: Ledger) -> None:
    before = opened(ledger)
    ledger.forget("job")
    opened(ledger)
    assert ledger.admit(before, 1, False, samples(2), 0) == (False, [])


def test_a_chunk_that_was_planned_in_an_earlier_round_is_refused(ledger: Ledger) -> None:
    before = opened(ledger)
    scanned(ledger, admitted(ledger))
    ledger.replan(claimed(ledger, SELECTION))
    assert the_job(ledger).cursor == before.cursor
    assert ledger.admit(before, 1, False, samples(2), 0) == (False, [])


def test_a_pool_whose_features_are_all_there_opens_the_selection_at_once(ledger: Ledger) -> None:
    job = opened(ledger)
    assert ledger.admit(job, 3, True, [], 4) == (True, [SELECTION])
    assert done_counts(ledger) == [4, 4, 4]


def test_nothing_is_admitted_after_the_pool_is_planned(ledger: Ledger) -> None:
    admitted(ledger, 4)
    assert ledger.admit(the_job(ledger), 3, True, [], 0) == (False, [])


def test_the_job_whose_last_admission_is_longest_ago_comes_first(ledger: Ledger) -> None:
    opened(ledger, "one", 9)
    opened(ledger, "two", 9)
    admitted(ledger, 2, job_id="one", planned=False)
    assert [job.id for job in ledger.jobs()] == ["two", "one"]


# Leases


def test_a_unit_that_is_held_is_given_to_nobody_else(ledger: Ledger) -> None:
    unit = admitted(ledger)
    claimed(ledger, unit, "me")
    assert ledger.claim(unit, "another") is None


def test_a_lease_that_ran_out_may_be_taken_before_the_sweep_has_seen_it(ledger: Ledger, client: redis.Redis) -> None:
    unit = admitted(ledger)
    mine = claimed(ledger, unit, "me")
    let_run_out(client, unit)
    assert claimed(ledger, unit, "another").attempts == 2
    assert not ledger.beat(mine)


@pytest.mark.parametrize("unit", [Unit("job", Stage.PREPROCESS, "0"), Unit("job", Stage.DOWNLOAD, "7"), SELECTION])
def test_a_hint_for_a_unit_that_is_not_open_is_dropped(ledger: Ledger, client: redis.Redis, unit: Unit) -> None:
    admitted(ledger)
    before = contents(client)
    assert ledger.claim(unit, "me") is None
    assert contents(client) == before


def test_a_unit_without_a_job_is_closed_when_it_is_claimed(ledger: Ledger, client: redis.Redis) -> None:
    client.zadd(keys.OPEN, {"gone|download|0": 1.0})
    assert ledger.claim(Unit("gone", Stage.DOWNLOAD, "0"), "me") is None
    assert left_over(client) == set()


def test_a_beat_extends_the_lease_of_its_holder_only(ledger: Ledger, client: redis.Redis) -> None:
    unit = admitted(ledger)
    lease = claimed(ledger, unit)
    let_run_out(client, unit)
    assert not ledger.beat(Lease(unit, "another", SPEC, (), 1))
    assert len(ledger.sweep()) == 1
    lease = claimed(ledger, unit, "again")
    let_run_out(client, unit)
    assert ledger.beat(lease)
    assert ledger.sweep() == []


def test_a_unit_given_back_is_not_counted_and_waits_for_its_pause(ledger: Ledger) -> None:
    unit = admitted(ledger)
    ledger.release(claimed(ledger, unit, "me"), 600.0)
    assert ledger.sweep() == []
    assert claimed(ledger, unit, "another").attempts == 1


def test_a_dead_workers_lease_ends_at_once_and_counts(ledger: Ledger) -> None:
    unit = admitted(ledger)
    claimed(ledger, unit, "node/message/random")
    ledger.abandon(unit, "node/message/")
    (overdue,) = ledger.sweep()
    assert (overdue.unit, overdue.was_leased, overdue.attempts) == (unit, True, 1)


def test_the_lease_of_another_delivery_is_left_alone(ledger: Ledger) -> None:
    unit = admitted(ledger)
    claimed(ledger, unit, "node/message/random")
    ledger.abandon(unit, "node/other/")
    assert ledger.sweep() == []


# The end of a unit


def test_the_end_of_a_stage_opens_the_next(ledger: Ledger) -> None:
    unit = admitted(ledger)
    assert passed(ledger, unit, Stage.PREPROCESS) == unit._replace(stage=Stage.PREPROCESS)
    assert ledger.open_units() == ([unit._replace(stage=Stage.PREPROCESS)], set())


def test_only_the_holder_ends_a_unit(ledger: Ledger, client: redis.Redis) -> None:
    unit = admitted(ledger)
    lost = claimed(ledger, unit, "me")
    let_run_out(client, unit)
    ledger.sweep()
    claimed(ledger, unit, "another")
    before = contents(client)
    assert ledger.done(lost, Stage.PREPROCESS, Outcome(4), 0.1) == (False, None)
    assert contents(client) == before


def test_the_last_chunk_opens_the_selection_in_the_same_step(ledger: Ledger) -> None:
    first, second = admitted(ledger, 2, planned=False), admitted(ledger, 2)
    assert scanned(ledger, first) is None
    assert scanned(ledger, second) == SELECTION
    assert ledger.open_units() == ([SELECTION], set())


def test_the_chunk_that_ends_before_planning_does_opens_nothing(ledger: Ledger) -> None:
    assert scanned(ledger, admitted(ledger, 2, planned=False)) is None
    assert ledger.admit(the_job(ledger), 3, True, [], 0) == (True, [SELECTION])


def test_a_chunk_whose_samples_all_fail_ends_there_and_has_passed_every_stage(ledger: Ledger) -> None:
    unit = admitted(ledger)
    failed = [FailedAt(sample.ordinal, SampleCode.NOT_FOUND, "") for sample in samples(4)]
    assert ledger.done(claimed(ledger, unit), None, Outcome(0, failed), 0.1) == (True, SELECTION)
    assert done_counts(ledger) == [4, 4, 4]
    assert ledger.failures("job").keys() == {0, 1, 2, 3}
    assert ledger.metrics().errors == {"not_found": 4}


def test_the_end_of_the_selection_leaves_nothing_of_the_job(ledger: Ledger, client: redis.Redis) -> None:
    scanned(ledger, admitted(ledger))
    assert passed(ledger, SELECTION, None) is None
    assert left_over(client) == set()


def test_attempts_are_counted_over_all_stages_of_a_chunk(ledger: Ledger, client: redis.Redis) -> None:
    unit = admitted(ledger)
    claimed(ledger, unit, "lost in download")
    let_run_out(client, unit)
    assert ledger.sweep()[0].attempts == 1
    passed(ledger, unit, Stage.PREPROCESS)
    unit = unit._replace(stage=Stage.PREPROCESS)
    claimed(ledger, unit, "lost in preprocess")
    let_run_out(client, unit)
    assert ledger.sweep()[0].attempts == 2


def test_a_chunk_sent_back_starts_at_download_uncounted_and_frees_its_bytes(ledger: Ledger) -> None:
    unit = admitted(ledger)
    passed(ledger, unit, Stage.PREPROCESS, size_bytes=1000)
    assert ledger.bytes_in_flight() == 1000
    assert ledger.send_back(claimed(ledger, unit._replace(stage=Stage.PREPROCESS))) == 1
    assert ledger.bytes_in_flight() == 0
    assert claimed(ledger, unit).attempts == 1


def test_a_chunk_sent_back_is_not_counted_twice_in_progress(ledger: Ledger) -> None:
    opened(ledger, total=9)
    unit = admitted(ledger, 2, planned=False)
    passed(ledger, unit, Stage.PREPROCESS)
    ledger.send_back(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)))
    passed(ledger, unit, Stage.PREPROCESS)
    assert done_counts(ledger) == [2, 0, 0]


def test_what_failed_counts_once_though_the_chunk_came_back(ledger: Ledger) -> None:
    unit = admitted(ledger, 4)
    gone = Outcome(3, [FailedAt(2, SampleCode.NOT_FOUND, "")])
    for _ in range(2):
        ledger.done(claimed(ledger, unit), Stage.PREPROCESS, gone, 0.1)
        ledger.send_back(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)))
    progress = ledger.progress("job")
    assert progress is not None and progress.failed == 1


# Other courses


def test_a_split_chunk_becomes_its_halves_in_order_from_the_start(ledger: Ledger) -> None:
    unit = admitted(ledger, 5)
    passed(ledger, unit, Stage.PREPROCESS)
    halves = ledger.split(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)), attempts=2)
    assert [half.stage for half in halves] == [Stage.DOWNLOAD] * 2
    leases = [claimed(ledger, half) for half in halves]
    assert [sample.ordinal for lease in leases for sample in lease.samples] == [0, 1, 2, 3, 4]
    assert [lease.attempts for lease in leases] == [3, 3]


def test_one_sample_is_never_split(ledger: Ledger, client: redis.Redis) -> None:
    lease = claimed(ledger, admitted(ledger, 1))
    before = contents(client)
    assert ledger.split(lease, attempts=0) == []
    assert contents(client) == before


def test_the_halves_of_a_chunk_do_not_count_again_what_it_had_passed(ledger: Ledger) -> None:
    opened(ledger, total=9)
    unit = admitted(ledger, 4, planned=False)
    passed(ledger, unit, Stage.PREPROCESS)
    for half in ledger.split(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)), attempts=0):
        passed(ledger, half, Stage.PREPROCESS)
    assert done_counts(ledger) == [4, 0, 0]


def test_a_split_takes_back_what_failed_in_the_whole_chunk(ledger: Ledger) -> None:
    unit = admitted(ledger, 4)
    ledger.done(claimed(ledger, unit), Stage.PREPROCESS, Outcome(3, [FailedAt(0, SampleCode.UNREACHABLE, "")]), 0.1)
    ledger.split(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)), attempts=0)
    assert ledger.failures("job") == {}


def test_a_job_planned_anew_begins_a_round_and_keeps_its_progress(ledger: Ledger) -> None:
    scanned(ledger, admitted(ledger))
    assert ledger.replan(claimed(ledger, SELECTION)) == 1
    job = the_job(ledger)
    assert (job.state, job.round, job.cursor, job.planned) == ("planning", 1, -1, False)
    assert done_counts(ledger) == [4, 4, 4]
    assert admitted(ledger).chunk == "1"


def test_a_selection_whose_lease_is_lost_plans_nothing_anew(ledger: Ledger, client: redis.Redis) -> None:
    scanned(ledger, admitted(ledger))
    lost = claimed(ledger, SELECTION, "me")
    let_run_out(client, SELECTION)
    claimed(ledger, SELECTION, "another")
    assert ledger.replan(lost) == 0
    assert the_job(ledger).round == 0


def test_a_job_fails_for_its_first_reason(ledger: Ledger) -> None:
    opened(ledger)
    ledger.fail("job", PROBLEM)
    ledger.fail("job", PROBLEM.model_copy(update={"code": "second"}))
    assert the_job(ledger).problem == PROBLEM


def test_a_failing_job_gives_no_work_and_never_selects(ledger: Ledger) -> None:
    first, second = admitted(ledger, 2, planned=False), admitted(ledger, 2)
    scanned(ledger, first)
    passed(ledger, second, Stage.PREPROCESS)
    last = claimed(ledger, second._replace(stage=Stage.PREPROCESS))
    ledger.fail("job", PROBLEM)
    assert ledger.done(last, None, Outcome(0), 0.1) == (True, None)
    assert the_job(ledger).state == "failing"


def test_a_failing_job_is_not_planned_anew(ledger: Ledger) -> None:
    scanned(ledger, admitted(ledger))
    selection = claimed(ledger, SELECTION)
    ledger.fail("job", PROBLEM)
    ledger.replan(selection)
    assert the_job(ledger).state == "failing"


def test_no_unit_of_a_failing_job_can_be_claimed(ledger: Ledger) -> None:
    unit = admitted(ledger)
    ledger.fail("job", PROBLEM)
    assert ledger.claim(unit, "me") is None


def test_a_job_that_is_not_there_cannot_fail(ledger: Ledger, client: redis.Redis) -> None:
    ledger.fail("job", PROBLEM)
    assert left_over(client) == set()


def test_a_forgotten_job_leaves_nothing_whatever_its_chunks_were_at(ledger: Ledger, client: redis.Redis) -> None:
    held, waiting, returned, cut = (admitted(ledger, 2, planned=False) for _ in range(4))
    claimed(ledger, held)
    passed(ledger, waiting, Stage.PREPROCESS, 5)
    passed(ledger, returned, Stage.PREPROCESS, 5)
    ledger.send_back(claimed(ledger, returned._replace(stage=Stage.PREPROCESS)))
    ledger.split(claimed(ledger, cut), attempts=2)
    ledger.cancel("job")
    assert left_over(client) == set()


def test_work_that_moved_on_is_forgiven_what_it_lost_before_by_its_holder_only(
    ledger: Ledger, client: redis.Redis
) -> None:
    unit = admitted(ledger)
    for number in range(3):
        lost = claimed(ledger, unit, f"lost {number}")
        let_run_out(client, unit)
    holder = claimed(ledger, unit, "holder")
    assert (lost.attempts, holder.attempts) == (3, 4)
    assert not ledger.forgive(lost)
    assert ledger.forgive(holder)
    let_run_out(client, unit)
    assert claimed(ledger, unit, "next").attempts == 2


def test_a_worker_of_a_cancelled_job_changes_nothing_any_more(ledger: Ledger, client: redis.Redis) -> None:
    lease = claimed(ledger, admitted(ledger))
    ledger.cancel("job")
    assert not ledger.beat(lease)
    assert ledger.done(lease, Stage.PREPROCESS, Outcome(4), 0.1) == (False, None)
    assert (ledger.send_back(lease), ledger.split(lease, 0)) == (0, [])
    ledger.release(lease, 1.0)
    ledger.abandon(lease.unit, lease.token)
    assert left_over(client) == set()


# Redis in trouble


@pytest.fixture
def lossy(redis_server: RedisServer, redis_url: str) -> Iterator[LossyProxy]:
    with LossyProxy(redis_server.port) as proxy:
        yield proxy


class AtWork(NamedTuple):
    """A job with one chunk in hand, one whose time ran out, and more to admit."""

    lease: Lease
    overdue: Unit
    job: JobLedger


def at_work(ledger: Ledger, client: redis.Redis) -> AtWork:
    client.flushall()
    opened(ledger, total=6)
    lease = claimed(ledger, admitted(ledger, 2, planned=False))
    overdue = admitted(ledger, 2, planned=False)
    let_run_out(client, overdue)
    return AtWork(lease, overdue, the_job(ledger))


GONE = Outcome(1, [FailedAt(0, SampleCode.EMPTY, "")], 7)
REPEATED: dict[str, Callable[[Ledger, AtWork], object]] = {
    "open_job": lambda ledger, work: ledger.open_job("another", SPEC, 4),
    "admit": lambda ledger, work: ledger.admit(work.job, 5, True, samples(2, 4), 0),
    "claim": lambda ledger, work: ledger.claim(work.overdue, "token"),
    "beat": lambda ledger, work: ledger.beat(work.lease),
    "done": lambda ledger, work: ledger.done(work.lease, Stage.PREPROCESS, GONE, 0.1),
    "end": lambda ledger, work: ledger.done(work.lease, None, GONE, 0.1),
    "send_back": lambda ledger, work: ledger.send_back(work.lease),
    "release": lambda ledger, work: ledger.release(work.lease, 600.0),
    "forgive": lambda ledger, work: ledger.forgive(work.lease),
    "abandon": lambda ledger, work: ledger.abandon(work.lease.unit, work.lease.token),
    "split": lambda ledger, work: ledger.split(work.lease, 2),
    "fail": lambda ledger, work: ledger.fail("job", PROBLEM),
    "forget": lambda ledger, work: ledger.forget("job"),
    "sweep": lambda ledger, work: ledger.sweep(),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_call_whose_reply_was_lost_says_so_and_acts_once_when_repeated(
    name: str, ledger: Ledger, lossy: LossyProxy, client: redis.Redis
) -> None:
    REPEATED[name](ledger, at_work(ledger, client))
    once = contents(client)
    work = at_work(ledger, client)
    through_proxy = Ledger.open(config_for(lossy.url))
    through_proxy.ping()
    lossy.lose_next_reply()
    with pytest.raises(Unavailable):
        REPEATED[name](through_proxy, work)
    REPEATED[name](through_proxy, work)
    assert contents(client) == once


def test_scripts_are_loaded_again_into_a_redis_that_lost_them(ledger: Ledger, client: redis.Redis) -> None:
    opened(ledger)
    client.script_flush()
    assert admitted(ledger, 2).chunk == "0"


def test_work_in_hand_ends_in_a_full_redis_though_nothing_new_begins(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        ledger = Ledger.open(config_for(server.url))
        unit = admitted(ledger, 2, planned=False)
        client.config_set("maxmemory", 1)
        with pytest.raises(Unavailable):
            ledger.open_job("another", SPEC, 4)
        with pytest.raises(Unavailable):
            ledger.admit(the_job(ledger), 3, True, samples(2, 2), 0)
        lease = claimed(ledger, unit)
        assert ledger.beat(lease)
        assert ledger.done(lease, Stage.PREPROCESS, Outcome(2), 0.1)[0]
        ledger.abandon(claimed(ledger, unit._replace(stage=Stage.PREPROCESS)).unit, "me")
        assert len(ledger.sweep()) == 1
        ledger.fail("job", PROBLEM)
        ledger.forget("job")
        assert left_over(client) == set()


def test_a_redis_that_hangs_is_unavailable_within_three_seconds(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        ledger = Ledger.open(config_for(server.url))
        ledger.ping()
        server.pause()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            ledger.open_job("job", SPEC, 4)
        assert time.monotonic() - started < 3


def test_a_redis_that_came_back_is_used_again_at_the_next_call(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        ledger = Ledger.open(config_for(server.url))
        ledger.ping()
        server.kill()
        with pytest.raises(Unavailable) as raised:
            ledger.ping()
        assert "127.0.0.1" not in raised.value.detail
        server.start()
        assert ledger.open_job("job", SPEC, 4)


# Waking, signs of life, figures


def test_a_new_job_wakes_the_dispatcher_to_look_into_the_catalog(ledger: Ledger) -> None:
    ledger.submit("job")
    assert ledger.wait_for_work(2.0)


def test_a_change_within_the_ledger_wakes_without_that(ledger: Ledger) -> None:
    opened(ledger)
    assert not ledger.wait_for_work(2.0)
    ledger.submit("job")
    ledger.fail("job", PROBLEM)
    assert ledger.wait_for_work(2.0)


def test_nothing_to_do_is_waited_for_no_longer_than_asked(ledger: Ledger) -> None:
    assert not ledger.wait_for_work(0.05)


@pytest.mark.parametrize("wake", [lambda ledger: ledger.submit("job"), lambda ledger: ledger.fail("job", PROBLEM)])
def test_wakes_that_nobody_takes_do_not_pile_up(
    ledger: Ledger, client: redis.Redis, wake: Callable[[Ledger], None]
) -> None:
    opened(ledger)
    for _ in range(40):
        wake(ledger)
    assert client.llen(keys.WAKE) <= 16


def test_workers_are_alive_while_they_give_signs(ledger: Ledger, client: redis.Redis) -> None:
    ledger.sign_of_life("download", "a")
    ledger.sign_of_life("download", "b")
    ledger.sign_of_life("dispatcher", "c")
    assert ledger.workers() == {"download": 2, "dispatcher": 1}
    ledger.gone("download", "a")
    silent_since = client.time()[0] - 16
    client.zadd(keys.WORKERS, {"dispatcher c": silent_since})
    assert ledger.workers() == {"download": 1}


def test_the_free_share_of_memory_is_told_where_there_is_a_limit(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.free_fraction() == 1.0
    with RedisServer(tmp_path, maxmemory="100mb") as server:
        assert 0.9 < Ledger.open(config_for(server.url)).free_fraction() < 1.0


def test_figures_say_what_waits_what_is_in_hand_and_what_passed(ledger: Ledger) -> None:
    unit = admitted(ledger, 4, planned=False)
    passed(ledger, unit, Stage.PREPROCESS, 800)
    claimed(ledger, admitted(ledger, 2))
    metrics = ledger.metrics()
    assert metrics.samples == {"download": 4}
    assert metrics.seconds == pytest.approx({"download": 0.1})
    assert (metrics.waiting["preprocess"], metrics.in_flight["download"]) == (1, 1)
    assert (metrics.cache_misses, metrics.bytes_in_flight, metrics.bytes_per_chunk) == (6, 800, 800.0)


def test_each_script_takes_redis_far_less_than_a_millisecond(ledger: Ledger, client: redis.Redis) -> None:
    client.config_resetstat()
    opened(ledger, total=12_800)
    for number in range(100):
        unit = admitted(ledger, 128, planned=number == 99)
        scanned(ledger, unit)
    calls = client.info("commandstats")["cmdstat_evalsha"]
    assert calls["calls"] > 600
    assert calls["usec_per_call"] < 500
