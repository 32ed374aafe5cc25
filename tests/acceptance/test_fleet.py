"""What a running fleet promises beyond one job: features kept, jobs ended, workers that come and go, a look inside."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from alaas.errors import JobFailed
from alaas.jobs import SCAN_STAGES, Job, JobState
from alaas_workers import keys
from alaas_workers.ledger import Ledger
from tests.acceptance.conftest import FLOWER_PASSWORD, Fleet
from tests.support import images
from tests.support.claims import Claims
from tests.support.users import Started, alaas_command, until


def scanned(fleet: Fleet) -> dict[str, int]:
    """Samples that each scan stage has finished since the fleet began."""
    samples = fleet.rig.metrics().samples
    return {stage.value: samples.get(stage.value, 0) for stage in SCAN_STAGES}


# Features are kept.


def test_a_second_query_on_a_pushed_pool_downloads_and_infers_nothing(fleet: Fleet) -> None:
    pool = fleet.pool(24)
    fleet.client.push_data(pool)
    before = scanned(fleet)
    first = fleet.client.query(budget=5)
    others = [
        fleet.client.query(budget=7, strategy="KCenterSampling"),
        fleet.client.query(budget=24, strategy="EntropySampling"),
        fleet.client.query(budget=5, strategy="RandomSampling", seed=1),
        fleet.client.query(budget=5, strategy="RandomSampling", seed=2),
    ]
    assert scanned(fleet) == before
    assert fleet.asked_for(pool) == len(pool), "each image is fetched once, by the push"
    assert [len(set(selected)) for selected in [first, *others]] == [5, 7, 24, 5, 5]
    assert others[2] != others[3]
    assert fleet.client.query(budget=5) == first


def test_only_the_file_that_changed_is_scanned_again(fleet: Fleet) -> None:
    folder = fleet.root / "changing"
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(10)]
    for number, path in enumerate(paths):
        path.write_bytes(images.jpeg(seed=100 + number))
    fleet.client.push_data(paths)
    scores = scores_by_path(fleet)
    before = scanned(fleet)
    paths[3].write_bytes(images.jpeg(seed=200))
    changed = scores_by_path(fleet)
    assert {stage: count - before[stage] for stage, count in scanned(fleet).items()} == {
        stage.value: 1 for stage in SCAN_STAGES
    }
    assert {path for path, score in changed.items() if score != scores[path]} == {str(paths[3])}


def scores_by_path(fleet: Fleet) -> dict[str, float]:
    selected = fleet.client.query(budget=10)
    return dict(zip(selected, selected.scores, strict=True))


# Jobs end when they are told to.


def slow_job(fleet: Fleet, **options: float) -> Job:
    """A job that would take half a minute by itself, running."""
    job = fleet.client.submit_job(uris=fleet.pool(400, delay_ms=1000), budget=3, **options)  # type: ignore[arg-type]
    until(lambda: fleet.client.job(job).state is not JobState.QUEUED, 60)
    return job


def in_the_ledger(fleet: Fleet, job: Job) -> list[str]:
    """Whatever the ledger's Redis still holds of the job."""
    with fleet.rig.ledger_redis() as redis:
        left = [key.decode() for key in redis.keys(f"{keys.PREFIX}*{job.id}*")]
        left += [unit.decode() for unit in redis.zrange(keys.OPEN, 0, -1) if job.id.encode() in unit]
        for name in (keys.OWNER, keys.ATTEMPTS, keys.BYTES):
            left += [field.decode() for field in redis.hkeys(name) if job.id.encode() in field]
        return left + [name.decode() for name in redis.zrange(keys.JOBS, 0, -1) if name == job.id.encode()]


def test_cancel_ends_a_running_job_and_leaves_nothing_of_it_in_the_ledger(fleet: Fleet) -> None:
    job = slow_job(fleet)
    until(lambda: in_the_ledger(fleet, job) != [], 30)
    assert fleet.client.cancel(job).state is JobState.CANCELLED
    with pytest.raises(JobFailed, match="cancelled"):
        fleet.client.wait(job, timeout_s=5)
    until(lambda: in_the_ledger(fleet, job) == [], 30, lambda: in_the_ledger(fleet, job))
    time.sleep(1.5)  # the chunks that were under way when it was cancelled end, and must not bring it back
    assert in_the_ledger(fleet, job) == []
    assert fleet.client.job(job).state is JobState.CANCELLED


def test_a_deadline_ends_a_running_job(fleet: Fleet) -> None:
    started = time.monotonic()
    job = slow_job(fleet, deadline_s=2.0)
    with pytest.raises(JobFailed, match="deadline of 2 s") as caught:
        fleet.client.wait(job, timeout_s=60)
    assert time.monotonic() - started < 25, "it ends soon after its deadline, not when its work is done"
    assert caught.value.problem is not None and caught.value.problem.code == "deadline_exceeded"
    until(lambda: in_the_ledger(fleet, job) == [], 30, lambda: in_the_ledger(fleet, job))


# Workers come and go.


def test_a_worker_from_another_shell_joins_takes_part_and_leaves(fleet: Fleet, tmp_path: Path) -> None:
    ledger = Ledger.open(fleet.rig.config)
    data_dir = str(fleet.rig.config.storage.data_dir)
    (own,) = fleet.rig.pids("inference")
    with Started(alaas_command("worker", "inference", "-c", "1", "--data-dir", data_dir), tmp_path) as joined:
        until(lambda: ledger.workers().get("inference") == 2, 60, lambda: joined.output)
        assert 'alaas_workers{stage="inference"} 2.0' in metrics_page(fleet)
        with Claims(fleet.rig.ledger_redis()) as claims:
            os.kill(own, signal.SIGSTOP)  # so that whatever is inferred now, the new one has inferred
            try:
                assert len(fleet.client.query_by_uri(fleet.pool(12), budget=4, timeout_s=60)) == 4
            finally:
                os.kill(own, signal.SIGCONT)
        assert joined.process.pid in claims.pids("inference")
        joined.process.send_signal(signal.SIGTERM)
        assert joined.wait(60) == 0, joined.output
    until(lambda: ledger.workers().get("inference") == 1, 30, ledger.workers)


def metrics_page(fleet: Fleet) -> str:
    return httpx.get(f"{fleet.rig.server.url}/metrics", timeout=20, trust_env=False).text


# A look inside.


def test_flower_asks_for_its_password_and_lists_the_workers_of_all_stages(fleet: Fleet) -> None:
    config = fleet.rig.config.flower
    url = f"http://127.0.0.1:{config.port}"

    def ask(path: str, password: str | None) -> httpx.Response:
        auth = None if password is None else (config.user, password)
        return httpx.get(f"{url}{path}", auth=auth, timeout=30, trust_env=False)

    until(lambda: answers(url), 60)
    assert [ask(path, None).status_code for path in ("/", "/api/workers")] == [401, 401]
    assert ask("/", "another").status_code == 401
    assert ask("/", FLOWER_PASSWORD).status_code == 200
    seen: set[str] = set()

    def all_stages_are_listed() -> bool:
        seen.update(name.split("@")[0] for name in ask("/api/workers?refresh=1", FLOWER_PASSWORD).json())
        return seen == {"download", "preprocess", "inference", "selection"}

    until(all_stages_are_listed, 60, lambda: seen)


def answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True
