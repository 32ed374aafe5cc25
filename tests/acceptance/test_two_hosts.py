"""`alaas worker` on two hosts (network namespaces with names of their own): both share one job with this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from alaas.config import Config
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.ledger import Ledger
from alaas_workers.models import transform_for
from tests.support import images
from tests.support.claims import Claims
from tests.support.fleets import Rig, write_config
from tests.support.redis_server import RedisServer
from tests.support.two_hosts import CannotMakeHosts, TwoHosts
from tests.support.users import Started, alaas_command, until
from tests.support.web_server import Request, WebServer, answer

STAGES = ("download", "preprocess", "inference")
POOL, BUDGET, CHUNK = 80, 20, 4
TOKEN, PASSWORD = "a-token-of-the-tests", "a-password-of-the-tests"


@dataclass(frozen=True)
class Spread:
    """This machine runs the API, the dispatcher and the selection; each host one worker of each other stage."""

    rig: Rig
    hosts: TwoHosts
    workers: dict[tuple[str, str], Started]
    photos: dict[str, bytes]  # by URI


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(TwoHosts())
        except CannotMakeHosts as error:
            pytest.skip(f"no second host can be made here: {error}")
        stores = [RedisServer(folder / role, host=hosts.address, password=PASSWORD) for role in ("ledger", "cache")]
        ledger, cache = (stack.enter_context(store) for store in stores)
        # Small PNG, so that what to expect can be computed here without loading torch.
        photos = {f"/{number}.png": images.png(28, 20, seed=number) for number in range(POOL)}

        def serve(request: Request) -> None:
            path, _, query = request.path.partition("?")
            request.stopping.wait(0.25 if query == "slowly" else 0.0)
            request.send(answer(photos[path]))

        web = stack.enter_context(WebServer({"*": serve}, host=hosts.address))
        config = write_config(
            folder,
            models={"null": {"source": "null"}},
            api={"tokens": [{"owner": "ann", "sha256": sha256(TOKEN.encode()).hexdigest()}]},
            broker={"url": ledger.url},
            cache={"url": cache.url},
            sources={"http": {"allow_hosts": [hosts.subnet], "ports": [web.port]}},
            pipeline={"chunk_size": CHUNK, "lease_s": 3.0, "hint_grace_s": 1.0, "sweep_s": 0.3},
            workers={stage: {"processes": 0, "concurrency": 1} for stage in STAGES},
        )
        workers = {
            (name, stage): stack.enter_context(start_worker(hosts, name, stage, config, folder))
            for name in hosts.names
            for stage in STAGES
        }
        rig = stack.enter_context(Rig(config))
        yield Spread(rig, hosts, workers, {web.uri(path): data for path, data in photos.items()})
        for worker in workers.values():  # at once, since each takes its time to end
            worker.process.terminate()


def start_worker(hosts: TwoHosts, name: str, stage: str, config: Path, folder: Path) -> Started:
    own = folder / f"{name}-{stage}"
    own.mkdir()
    return Started(hosts.command(name, *alaas_command("worker", stage, "--config", str(config))), own)


def expected(config: Config, photos: dict[str, bytes]) -> list[str]:
    """The URIs of the least confident samples."""
    transform = transform_for("null", config.models["null"])
    arrays = [transform.preprocess(data, config.sources) for data in photos.values()]
    features = open_backend("null", config).infer(arrays, [Feature.PROBABILITIES], lambda: None)
    order = np.argsort(features[Feature.PROBABILITIES].max(1))[:BUDGET]
    return [list(photos)[i] for i in order]


def test_both_hosts_take_part_in_one_job_and_its_report_is_right(spread: Spread) -> None:
    ledger = Ledger.open(spread.rig.config)
    until(lambda: [ledger.workers().get(stage) for stage in STAGES] == [2, 2, 2], 60, ledger.workers)
    with Claims(spread.rig.ledger_redis()) as claims:
        with spread.rig.server.client(token=TOKEN, progress=False) as client:
            selected = client.query_by_uri(list(spread.photos), budget=BUDGET, timeout_s=90)
    assert list(selected) == expected(spread.rig.config, spread.photos)
    assert selected.report.pool == POOL and selected.failed == []
    assert {stage: claims.hosts(stage) for stage in STAGES} == {stage: set(spread.hosts.names) for stage in STAGES}
    assert claims.hosts("selection") == {os.uname().nodename}


def test_the_job_goes_on_when_one_of_the_hosts_is_lost(spread: Spread) -> None:
    """SIGKILL for its workers while they hold chunks: what they held is done on the other host."""
    lost = spread.hosts.names[0]
    slow = {f"{uri}?slowly": data for uri, data in spread.photos.items()}
    with spread.rig.server.client(token=TOKEN, progress=False) as client:
        with Claims(spread.rig.ledger_redis()) as claims:
            job = client.submit_job(uris=list(slow), budget=BUDGET)
            until(lambda: lost in claims.hosts("download"), 60)
        for (name, _), worker in spread.workers.items():
            if name == lost:
                worker.process.send_signal(signal.SIGKILL)
        client.wait(job, timeout_s=120)
        report = client.report(job)
    assert [chosen.uri for chosen in report.selected] == expected(spread.rig.config, slow)
    assert report.pool == POOL and report.failed == []
    assert spread.rig.metrics().expired_leases > 0, "nothing was lost with the host"
