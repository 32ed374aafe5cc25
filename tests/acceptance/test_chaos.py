"""Everything that can die, dies, while jobs run: each job ends, and its report is that of a run without faults.

A seeded run of about a minute belongs to `make test`; `make chaos` runs many minutes of it, with more seeds.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from alaas import Client
from alaas.errors import Transient, Unavailable
from alaas.jobs import SCAN_STAGES, Job, Report
from alaas_workers import keys
from load_tests.cifar import unpack
from load_tests.image_server import image_server
from tests.support.fleets import Faults, Rig, write_config

T = TypeVar("T")
LEASE_S = 3.0
POOL, BUDGET = 640, 50
LOOKS = ("LeastConfidence", "EntropySampling")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("images")
    names = [path.name for path in unpack(folder, POOL - 20)]
    # Some of the pool is bad, and its samples must fail in the same way under every fault.
    (folder / "text.jpg").write_bytes(b"not an image")
    with image_server(folder, delay_ms=20) as base:
        missing = [f"{base}/missing-{i}.jpg" for i in range(19)]
        yield [*(f"{base}/{name}" for name in names), f"{base}/text.jpg", *missing]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    config = write_config(
        tmp_path,
        models={"null": {"source": "null"}},
        pipeline={
            "chunk_size": 16,
            "window": 4,
            "lease_s": LEASE_S,
            "stall_s": 6.0,
            "hint_grace_s": 1.0,
            "sweep_s": 0.3,
        },
        sources={"attempts": 2, "retry_delay_s": 0.1},
        workers={
            "download": {"processes": 1, "concurrency": 2},
            "preprocess": {"processes": 1, "concurrency": 2},
            "inference": {"processes": 1, "concurrency": 2},
            "dispatcher": 2,
        },
    )
    with Rig(config) as rig:
        yield rig


class Witness(threading.Thread):
    """Looks at one job all the while: its progress must only move forward, and no answer may be a 5xx but 503."""

    def __init__(self, url: str, job: Job) -> None:
        super().__init__(daemon=True)
        self.complaints: list[str] = []
        self.done = threading.Event()
        self._url = f"{url}/v1/jobs/{job.id}"

    def run(self) -> None:
        furthest: dict[str, int] = {}
        while not self.done.wait(0.1):
            try:
                answer = httpx.get(self._url, timeout=10)
            except httpx.TransportError:
                continue  # the API was killed, and is started again
            if answer.status_code >= 500 and answer.status_code != 503:
                self.complaints.append(f"HTTP {answer.status_code}: {answer.text[:200]}")
            if answer.status_code != 200:
                continue
            progress = Job.model_validate_json(answer.content).progress
            for stage in SCAN_STAGES:
                done = progress.stages[stage].done if stage in progress.stages else 0
                if done < furthest.get(stage, 0):
                    self.complaints.append(f"{stage} went from {furthest[stage]} back to {done}")
                furthest[stage] = done


def patiently(call: Callable[[], T]) -> T:
    """The API may be starting again; a client with less patience than a start takes would give up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except Transient:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def submit(client: Client, pool: list[str], strategy: str) -> Job:
    return patiently(lambda: client.submit_job(uris=pool, budget=BUDGET, strategy=strategy, seed=1))


def finish(client: Client, job: Job, timeout_s: float = 120.0) -> bytes:
    """The job's report as bytes."""
    client.wait(job, timeout_s=timeout_s)
    return patiently(lambda: client.report(job)).model_dump_json().encode()


def has_ended(client: Client, job: Job) -> bool:
    try:
        return client.job(job.id).state.is_terminal
    except Transient:
        return False  # the API was killed, or Redis is away


def undisturbed(rig: Rig, client: Client, pool: list[str]) -> dict[str, bytes]:
    """The reports of a run without faults, each of a pool that nothing is known of."""
    reports = {}
    for strategy in LOOKS:
        rig.forget_features()
        reports[strategy] = finish(client, submit(client, pool, strategy))
    return reports


def faults_of(faults: Faults) -> list[Callable[[], None]]:
    kills = ["api", "dispatcher", "download", "preprocess", "inference", "selection", "redis-ledger", "redis-cache"]
    return [
        *(lambda name=name: faults.kill(name) for name in kills),
        lambda: faults.kill_child("preprocess"),
        lambda: faults.freeze("inference", LEASE_S + 2),
        lambda: faults.freeze("download", LEASE_S + 2),
        lambda: faults.freeze("redis-ledger", 2.0),
        lambda: faults.pop_hole("download"),
        lambda: faults.drop_messages(0.3, 2.0),
        lambda: faults.triple_messages(2.0),
        faults.flush_cache,
        faults.wipe_ledger,
    ]


def torment(rig: Rig, client: Client, pool: list[str], faults: Faults, rng: random.Random, for_s: float) -> None:
    """Pairs of jobs run one after the other while faults come, each of them once before any comes twice.

    After a fault the fleet gets a breath, so that it is met at work and not only while it starts again.
    """
    expected = undisturbed(rig, client, pool)
    todo = faults_of(faults)
    rng.shuffle(todo)
    started, first_turn = time.monotonic(), len(todo)
    while time.monotonic() - started < for_s or len(faults.done) < first_turn:
        rig.forget_features()
        jobs = {strategy: submit(client, pool, strategy) for strategy in LOOKS}
        witnesses = [Witness(rig.server.url, job) for job in jobs.values()]
        for witness in witnesses:
            witness.start()
        while not all(has_ended(client, job) for job in jobs.values()):
            if not todo:
                todo = faults_of(faults)
                rng.shuffle(todo)
            todo.pop()()
            time.sleep(rng.uniform(0.2, 1.0))
            await_work(rig)
            assert time.monotonic() - started < 5 * for_s, f"no end after {faults.done}"
        for strategy, job in jobs.items():
            assert finish(client, job) == expected[strategy], f"another report after {faults.done}"
        for witness in witnesses:
            witness.done.set()
            witness.join()
            assert not witness.complaints, faults.done
    faults.end()


def await_work(rig: Rig, units: int = 3, for_s: float = 20.0) -> None:
    """Until some more units were finished, or nothing is left to do."""
    deadline, first = time.monotonic() + for_s, None
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            metrics = rig.metrics()
            first = metrics.finished if first is None or metrics.finished < first else first
            if metrics.finished >= first + units or not any([*metrics.waiting.values(), *metrics.in_flight.values()]):
                return
        time.sleep(0.05)


def assert_nothing_is_open(rig: Rig) -> None:
    deadline = time.monotonic() + 20
    while True:
        with rig.ledger_redis() as ledger, rig.cache_redis() as cache:
            left = [
                name for name in (keys.OPEN, keys.OWNER, keys.ATTEMPTS, keys.BYTES, keys.JOBS) if ledger.exists(name)
            ]
            left += [key.decode() for key in ledger.scan_iter(f"{keys.JOB}*")]
            left += [key.decode() for key in ledger.scan_iter(f"{keys.CHUNKS}*")]
            unbounded = [key for key in cache.scan_iter(f"{keys.INTERMEDIATE}*") if cache.ttl(key) < 0]
        if not left and not unbounded:
            return
        assert time.monotonic() < deadline, (left, unbounded)
        time.sleep(0.5)


@pytest.mark.timeout(400)
def test_every_job_ends_with_the_report_of_a_run_without_faults(rig: Rig, pool: list[str]) -> None:
    rng = random.Random(20221122)
    faults = Faults(rig, rng, LEASE_S)
    with rig.client() as client:
        torment(rig, client, pool, faults, rng, for_s=60)
    assert_nothing_is_open(rig)


@pytest.mark.timeout(300)
def test_a_job_goes_on_after_everything_was_stopped_and_started_again(rig: Rig, pool: list[str]) -> None:
    with rig.client() as client:
        expected = undisturbed(rig, client, pool)
        rig.forget_features()
        job = submit(client, pool, LOOKS[0])
        time.sleep(0.5)
        rig.stop()
        rig.start()
        assert finish(client, job) == expected[LOOKS[0]]
    assert_nothing_is_open(rig)


@pytest.mark.timeout(300)
def test_under_a_twentieth_of_the_work_is_repeated_when_workers_are_killed(rig: Rig, pool: list[str]) -> None:
    rng = random.Random(5)
    faults = Faults(rig, rng, LEASE_S)
    many = [f"{uri}?{turn}" for turn in range(10) for uri in pool]
    with rig.client() as client:
        job = submit(client, many, LOOKS[0])
        for stage in ("download", "preprocess", "inference", "download", "inference", "preprocess"):
            time.sleep(2.0)
            faults.kill(stage)
        finish(client, job)
    metrics = rig.metrics()
    repeated = metrics.claims - metrics.finished
    assert repeated / metrics.finished < 0.05, (repeated, metrics.finished, faults.done)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_ten_minutes_of_faults_change_nothing(rig: Rig, pool: list[str], seed: int) -> None:
    rng = random.Random(seed)
    faults = Faults(rig, rng, LEASE_S)
    with rig.client() as client:
        torment(rig, client, pool, faults, rng, for_s=600)
    assert_nothing_is_open(rig)


def test_what_is_compared_is_a_whole_report(rig: Rig, pool: list[str]) -> None:
    """The trials above compare bytes; here is what these bytes hold."""
    with rig.client() as client:
        job = submit(client, pool, LOOKS[0])
        report = Report.model_validate_json(finish(client, job))
    assert len(report.selected) == BUDGET and report.pool == POOL
    assert sorted({sample.code for sample in report.failed}) == ["not_an_image", "not_found"]
    assert len(report.failed) == 20
