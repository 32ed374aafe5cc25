"""A fleet whose models run in a real Triton server, which is killed and started again in the middle of jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from alaas import Client
from alaas.jobs import Job, JobState, Report, Stage
from tests.support import images, tiny_models
from tests.support.fleets import Rig, write_config
from tests.support.tiny_models import saved, seeded
from tests.support.triton_models import TRANSFORM, pbtxt, write_model
from tests.support.triton_server import TritonServer, require_triton

POOL, BUDGET = 160, 20
CHUNK = 16
CODE = str(Path(tiny_models.__file__))
DELAY_S = "0.15"  # of each batch of 8, so that a job of `slow` takes seconds


def of_file(folder: Path, name: str, **own: Any) -> dict[str, Any]:
    settings = {"source": "file", "path": str(folder / f"{name}.pt"), "builder": f"{CODE}:TinyNet"}
    return settings | {"transform": dict(TRANSFORM), "batch_size": 32} | own


def on_triton(name: str, **own: Any) -> dict[str, Any]:
    return {"source": "triton", "name": name, "transform": dict(TRANSFORM), "batch_size": 32} | own


def exported(config: Path, model: str, repository: Path) -> None:
    alaas = Path(sys.executable).with_name("alaas")
    subprocess.run([alaas, "export", "triton", model, repository, "--config", config], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_triton()
    return tmp_path_factory.mktemp("triton-fleet")


@pytest.fixture(scope="module")
def server(folder: Path) -> TritonServer:
    return TritonServer(folder / "models", explicit=True)


def config_of(folder: Path, server: TritonServer, url: str) -> Path:
    slow = on_triton("slow", batch_size=8)
    return write_config(
        folder,
        models={
            "torch": of_file(folder.parent, "small"),
            "torch-wide": of_file(folder.parent, "wide", kwargs={"width": 16}),
            "served": on_triton("torch-wide"),
            "slow": slow,
        },
        triton={"url": url, "timeout_s": 5.0, "attempts": 2, "retry_delay_s": 0.1},
        sources={"file": {"roots": [str(folder.parent)]}},
        pipeline={"chunk_size": CHUNK, "lease_s": 5.0, "hint_grace_s": 1.0, "sweep_s": 0.3},
    )


@pytest.fixture(scope="module")
def rig(folder: Path, server: TritonServer) -> Iterator[Rig]:
    saved(seeded(1), folder / "small.pt")
    saved(seeded(2, width=16), folder / "wide.pt")
    config = config_of(folder / "fleet", server, server.grpc)
    exported(config, "torch-wide", server.repository)
    write_model(server.repository, "slow", pbtxt(delay_s=DELAY_S, alaas_fingerprint="one"))
    with server:
        server.load("torch-wide", "slow")
        with Rig(config) as rig:
            yield rig


@pytest.fixture(scope="module")
def client(rig: Rig) -> Iterator[Client]:
    with rig.client() as client:
        yield client


@pytest.fixture(scope="module")
def pool(folder: Path) -> list[str]:
    uris = []
    for number in range(POOL):
        path = folder / f"{number}.jpg"
        path.write_bytes(images.jpeg(*[(12, 10), (40, 30)][number % 2], seed=number))
        uris.append(path.as_uri())
    return uris


def report(client: Client, pool: list[str], model: str | list[str], strategy: str = "LeastConfidence") -> Report:
    job = client.submit_job(uris=pool, budget=BUDGET, model=model, strategy=strategy, seed=1)
    client.wait(job, timeout_s=120)
    return client.report(job)


def selection(client: Client, pool: list[str], model: str | list[str], strategy: str) -> list[str]:
    return [each.uri for each in report(client, pool, model, strategy).selected]


def bytes_of(made: Report) -> bytes:
    return made.model_dump_json().encode()


def wait_for(what: str, is_so: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)


def inferred(client: Client, job: Job) -> int:
    progress = client.job(job.id).progress.stages
    return progress[Stage.INFERENCE].done if Stage.INFERENCE in progress else 0


def started(client: Client, pool: list[str], model: str) -> Job:
    """A job in the middle of its inference."""
    job = client.submit_job(uris=pool, budget=BUDGET, model=model, strategy="LeastConfidence", seed=1)
    wait_for("the first chunk", lambda: inferred(client, job) > 0)
    assert inferred(client, job) < POOL
    return job


def triton_check(rig: Rig) -> dict[str, Any]:
    return dict(httpx.get(f"{rig.server.url}/readyz", timeout=10).json()["checks"]["triton"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["LeastConfidence", "KCenterSampling"])
def test_an_exported_model_selects_what_the_torch_backend_selects(
    client: Client, pool: list[str], strategy: str
) -> None:
    assert selection(client, pool, "served", strategy) == selection(client, pool, "torch-wide", strategy)


@pytest.mark.timeout(300)
def test_a_committee_may_have_members_on_both_engines(client: Client, pool: list[str]) -> None:
    asked = "QueryByCommittee"
    of_torch = selection(client, pool, ["torch", "torch-wide"], asked)
    assert selection(client, pool, ["torch", "served"], asked) == of_torch


@pytest.mark.timeout(300)
def test_what_is_known_of_a_served_model_is_told(client: Client, pool: list[str], rig: Rig) -> None:
    report(client, pool, "served")
    cards = {card.name: card for card in client.models()}
    served, own = cards["served"], cards["torch-wide"]
    assert (served.classes, served.embedding_size, served.transform) == (own.classes, own.embedding_size, own.transform)
    assert served.device == "triton" and served.fingerprint != own.fingerprint
    assert triton_check(rig)["ok"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_by_http_the_selection_is_the_same(client: Client, pool: list[str], server: TritonServer, folder: Path) -> None:
    by_grpc = report(client, pool, "served")
    with Rig(config_of(folder / "fleet-http", server, server.http)) as rig, rig.client() as by_http:
        assert bytes_of(report(by_http, pool, "served")) == bytes_of(by_grpc)


@pytest.mark.timeout(300)
def test_a_server_killed_and_started_again_in_mid_job_changes_nothing(
    client: Client, pool: list[str], rig: Rig, server: TritonServer
) -> None:
    undisturbed = report(client, pool, "slow")
    assert not undisturbed.failed and len(undisturbed.selected) == BUDGET
    rig.forget_features()
    job = started(client, pool, "slow")
    server.kill()
    wait_for("a server that is away", lambda: triton_check(rig)["detail"] == "does not answer")
    assert client.job(job.id).state is JobState.RUNNING
    server.start().load("slow")
    client.wait(job, timeout_s=120)
    assert bytes_of(client.report(job)) == bytes_of(undisturbed)
    wait_for("a server that is back", lambda: triton_check(rig)["detail"] == "does not serve served")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_killed_while_the_server_is_away_wait_for_it_too(
    client: Client, pool: list[str], rig: Rig, server: TritonServer
) -> None:
    rig.forget_features()
    undisturbed = report(client, pool, "slow")
    rig.forget_features()
    job = started(client, pool, "slow")
    server.kill()
    for pid in rig.pids("inference"):
        os.kill(pid, signal.SIGKILL)
    other = client.submit_job(uris=pool, budget=BUDGET, model="torch", strategy="LeastConfidence", seed=2)
    client.wait(other, timeout_s=120)  # another model's job does not wait
    assert client.job(job.id).state is JobState.RUNNING
    server.start().load("slow")
    client.wait(job, timeout_s=120)
    assert bytes_of(client.report(job)) == bytes_of(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_comes_back_with_other_weights_is_another_model(
    client: Client, pool: list[str], rig: Rig, server: TritonServer
) -> None:
    before = report(client, pool, "slow")
    rig.forget_features()
    job = started(client, pool, "slow")
    server.kill()
    write_model(server.repository, "slow", pbtxt(delay_s=DELAY_S, seed="9", alaas_fingerprint="two"))
    server.start().load("slow")
    client.wait(job, timeout_s=120)
    after = client.report(job)
    assert after.fingerprint != before.fingerprint and after.selected != before.selected
    rig.forget_features()
    assert bytes_of(report(client, pool, "slow")) == bytes_of(after)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_weights_changed_between_jobs_are_seen_though_all_features_are_kept(
    client: Client, pool: list[str], server: TritonServer
) -> None:
    before = report(client, pool, "slow")
    write_model(server.repository, "slow", pbtxt(delay_s=DELAY_S, seed="11", alaas_fingerprint="three"))
    server.load("slow")

    def fingerprint() -> str | None:
        return next(card.fingerprint for card in client.models() if card.name == "slow")

    wait_for("the new fingerprint", lambda: fingerprint() not in (None, before.fingerprint))
    assert report(client, pool, "slow").fingerprint == fingerprint()
