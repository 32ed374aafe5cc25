"""The heart: leases are extended while work moves on, and only then."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import redis

from alaas.config import Config
from alaas_workers.heart import Heart, Hold, LeaseLost
from alaas_workers.ledger import Lease, Ledger
from tests.support.ledger import admitted, claimed, config_for, let_run_out
from tests.support.redis_server import RedisServer


def quick(url: str, *, lease_s: float = 0.5, stall_s: float = 600.0) -> Config:
    return config_for(url, pipeline={"lease_s": lease_s, "stall_s": stall_s})


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    return claimed(ledger, admitted(ledger))


def is_overdue(ledger: Ledger) -> bool:
    return bool(ledger.sweep())


def test_a_lease_lasts_for_as_long_as_its_work_moves_on(redis_url: str) -> None:
    config = quick(redis_url, lease_s=1.0)
    ledger = Ledger.open(config)
    with Heart(ledger, config).hold(claimed(ledger, admitted(ledger))) as hold:
        for _ in range(15):
            time.sleep(0.1)
            hold.progress()
        assert not is_overdue(ledger)


def test_a_lease_runs_out_when_its_work_hangs(redis_url: str, client: redis.Redis) -> None:
    config = quick(redis_url, lease_s=600.0, stall_s=0.5)
    ledger = Ledger.open(config)
    heart = Heart(ledger, config)
    hold = Hold(claimed(ledger, admitted(ledger)))
    hold.last_progress_s = time.monotonic() - 1.0
    let_run_out(client, hold.lease.unit)
    heart.beat([hold])
    assert is_overdue(ledger)


def test_work_that_hung_and_moves_again_keeps_its_lease_if_nobody_took_it(
    ledger: Ledger, config: Config, lease: Lease, client: redis.Redis
) -> None:
    hold = Hold(lease)
    let_run_out(client, lease.unit)
    hold.progress()
    Heart(ledger, config).beat([hold])
    assert not is_overdue(ledger)


def test_whoever_lost_its_lease_is_told_at_its_next_progress(
    ledger: Ledger, config: Config, lease: Lease, client: redis.Redis
) -> None:
    hold = Hold(lease)
    let_run_out(client, lease.unit)
    ledger.sweep()
    Heart(ledger, config).beat([hold])
    with pytest.raises(LeaseLost):
        hold.progress()


def test_on_one_device_the_progress_of_one_is_progress_of_all(ledger: Ledger, config: Config) -> None:
    waits, works = (Hold(claimed(ledger, admitted(ledger, 2, planned=False), f"token {i}")) for i in range(2))
    waits.last_progress_s = time.monotonic() - 10_000.0
    let_run_out(ledger._redis, waits.lease.unit)
    Heart(ledger, config, shared_progress=True).beat([waits, works])
    assert not is_overdue(ledger)


def silent(lease: Lease) -> Hold:
    hold = Hold(lease)
    hold.last_progress_s = time.monotonic() - 10_000.0
    return hold


def test_work_that_computes_without_a_word_keeps_its_lease_where_computing_counts(
    redis_url: str, client: redis.Redis
) -> None:
    config = quick(redis_url, lease_s=0.5)
    ledger = Ledger.open(config)
    heart = Heart(ledger, config, computing_counts=True)
    hold = silent(claimed(ledger, admitted(ledger)))
    heart.beat([hold])
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    let_run_out(client, hold.lease.unit)
    heart.beat([hold])
    assert not is_overdue(ledger)


def test_work_that_sleeps_without_a_word_loses_its_lease_though_computing_counts(
    redis_url: str, client: redis.Redis
) -> None:
    config = quick(redis_url, lease_s=60.0)
    ledger = Ledger.open(config)
    heart = Heart(ledger, config, computing_counts=True)
    heart._computed_s = time.process_time()
    hold = silent(claimed(ledger, admitted(ledger)))
    let_run_out(client, hold.lease.unit)
    heart.beat([hold])
    assert is_overdue(ledger)


def test_a_beat_never_comes_after_the_work_was_given_up(ledger: Ledger, config: Config, lease: Lease) -> None:
    """Else it would hold the unit, on which nobody works, for one more lease."""
    heart = Heart(ledger, config)
    with heart.hold(lease) as hold:
        copied = [hold]
    ledger.abandon(lease.unit, lease.token)
    heart.beat(copied)
    assert is_overdue(ledger)


def test_the_end_of_work_waits_for_the_beat_that_is_under_way(
    ledger: Ledger, config: Config, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begun = threading.Event()

    def slow_beat(lease: Lease) -> bool:
        begun.set()
        time.sleep(0.2)
        order.append("beat")
        return True

    monkeypatch.setattr(ledger, "beat", slow_beat)
    heart = Heart(ledger, config)
    with heart.hold(lease) as hold:
        beating = threading.Thread(target=heart.beat, args=([hold],))
        beating.start()
        begun.wait(2)
    order.append("end")
    beating.join()
    assert order == ["beat", "end"]


def test_a_redis_that_is_away_takes_no_lease_away(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        config = config_for(server.url)
        ledger = Ledger.open(config)
        hold = Hold(claimed(ledger, admitted(ledger)))
        server.kill()
        Heart(ledger, config).beat([hold])
        hold.progress()


def test_the_heart_goes_on_after_an_error_that_nobody_foresaw(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(redis_url, lease_s=0.5)
    ledger = Ledger.open(config)
    lease = claimed(ledger, admitted(ledger))
    beats = []

    def breaks_once(lease: Lease) -> bool:
        beats.append(lease)
        if len(beats) == 1:
            raise RuntimeError
        return True

    monkeypatch.setattr(ledger, "beat", breaks_once)
    with Heart(ledger, config).hold(lease):
        time.sleep(0.8)
    assert len(beats) >= 2
