"""A fleet that several owners share, on Redis and PostgreSQL of its own: tokens, and stores that are away at times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from alaas import Client
from alaas.errors import JobFailed, NotFound, Unauthorized
from alaas.jobs import JobState
from tests.acceptance.conftest import serve_good_image
from tests.support import images
from tests.support.fleets import Rig, write_config
from tests.support.postgres_server import CannotRunPostgres, PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.users import PATIENCE_S, until
from tests.support.web_server import WebServer

TOKENS = {"ann": "token-of-ann", "bob": "token-of-bob"}


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float
    retry_after: str | None


@dataclass(frozen=True)
class Shared:
    """A running fleet; `first_answers` are those that its API gave while no store was there."""

    rig: Rig
    web: WebServer
    postgres: PostgresServer
    first_answers: dict[str, Answer]

    def client(self, owner: str) -> Client:
        return self.rig.server.client(token=TOKENS[owner], progress=False)

    def pool(self, name: str, count: int, delay_ms: int = 0) -> list[str]:
        return [self.web.uri(f"/good/{name}/{delay_ms}/{number}.jpg") for number in range(count)]

    def asked_for(self, uris: list[str]) -> int:
        return sum(self.web.uri(path) in uris for path in self.web.paths)


def ask(url: str, method: str, path: str, body: dict[str, object] | None = None) -> Answer | None:
    """One request of Ann's; None while nobody listens."""
    started = time.monotonic()
    headers = {"authorization": f"Bearer {TOKENS['ann']}"}
    try:
        response = httpx.request(method, f"{url}{path}", json=body, headers=headers, timeout=30, trust_env=False)
    except httpx.TransportError:
        return None
    return Answer(response.status_code, time.monotonic() - started, response.headers.get("retry-after"))


def answers_without_stores(url: str) -> dict[str, Answer]:
    until(lambda: ask(url, "GET", "/healthz") is not None, PATIENCE_S)
    asked: list[tuple[str, str, dict[str, object] | None]] = [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/models", None),
        ("POST", "/v1/datasets", {"name": "early"}),
        ("POST", "/v1/jobs", {"uris": ["http://127.0.0.1/1.jpg"], "budget": 1}),
    ]
    said = {f"{method} {path}": ask(url, method, path, body) for method, path, body in asked}
    return {name: answer for name, answer in said.items() if answer is not None}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Its processes start first, then, when the API has been asked, Redis, and PostgreSQL last."""
    folder = tmp_path_factory.mktemp("shared")
    ledger = RedisServer(folder / "ledger", appendonly="yes", maxmemory_policy="noeviction")
    cache = RedisServer(folder / "cache", maxmemory="256mb", maxmemory_policy="allkeys-lru")
    with ExitStack() as stack:
        try:
            postgres = PostgresServer()
        except CannotRunPostgres as error:
            pytest.skip(f"no PostgreSQL runs here: {error}")
        stack.push(postgres.__exit__)
        web = stack.enter_context(WebServer({"*": serve_good_image}))
        config = write_config(
            folder,
            models={"null": {"source": "null"}},
            api={"tokens": [{"owner": owner, "sha256": sha256(t.encode()).hexdigest()} for owner, t in TOKENS.items()]},
            broker={"url": ledger.url},
            cache={"url": cache.url},
            catalog={"url": postgres.url().replace("postgresql://", "postgresql+psycopg://")},
            sources={"http": {"allow_hosts": ["127.0.0.1/32"], "ports": [web.port]}},
            pipeline={"chunk_size": 4, "hint_grace_s": 1.0, "sweep_s": 0.3, "lease_s": 10.0},
        )
        rig = Rig(config)
        stack.callback(rig.stop)
        troubles: list[BaseException] = []
        starting = threading.Thread(target=lambda: start(rig, troubles))
        starting.start()
        said = answers_without_stores(f"http://127.0.0.1:{rig.port}")
        for server in (ledger, cache):
            server.start()
            stack.callback(server.stop)
        time.sleep(2)
        postgres.start()
        starting.join(PATIENCE_S)
        assert not starting.is_alive() and not troubles, troubles
        yield Shared(rig, web, postgres, said)
        rig.stop()  # before its stores


def start(rig: Rig, troubles: list[BaseException]) -> None:
    try:
        rig.start()
    except BaseException as error:
        troubles.append(error)


# Stores that are away.


def test_an_api_without_its_stores_says_so_quickly_and_asks_to_come_again(shared: Shared) -> None:
    said = dict(shared.first_answers)
    assert said.pop("GET /healthz").status == 200
    assert len(said) == 5
    assert {name: answer.status for name, answer in said.items()} == dict.fromkeys(said, 503)
    assert all(answer.retry_after and int(answer.retry_after) >= 1 for answer in said.values()), said
    # 3 s is the promise; the rest is what a machine busy with other tests may add.
    assert max(answer.seconds for answer in said.values()) < 8, said


def test_processes_started_before_redis_and_postgresql_wait_for_them_and_then_work(shared: Shared) -> None:
    with shared.client("ann") as client:
        assert len(client.query_by_uri(shared.pool("first", 8), budget=3, timeout_s=60)) == 3
    died = {p.command.name: list(p.tail)[-5:] for p in shared.rig.server.fleet.processes if p.restarts}
    assert died == {}, "they are to wait, not to die and be started again"


def test_a_job_goes_on_when_postgresql_was_away_and_the_api_answers_503_meanwhile(shared: Shared) -> None:
    pool = shared.pool("away", 80, delay_ms=1000)
    statuses: list[int] = []
    with shared.client("ann") as client:
        job = client.submit_job(uris=pool, budget=10)
        until(lambda: any(stage.done for stage in client.job(job).progress.stages.values()), 60)
        shared.postgres.stop()
        try:
            since = time.monotonic()
            while time.monotonic() - since < 3:
                for method, path in (("GET", f"/v1/jobs/{job.id}"), ("GET", "/v1/datasets"), ("GET", "/metrics")):
                    if (answer := ask(shared.rig.server.url, method, path)) is not None:
                        statuses.append(answer.status)
                time.sleep(0.1)
        finally:
            shared.postgres.start()
        ended = client.wait(job, timeout_s=90)
        report = client.report(job)
    assert ended.state is JobState.SUCCEEDED
    assert len(report.selected) == 10 and report.failed == []
    assert 503 in statuses and set(statuses) <= {200, 503}, sorted(set(statuses))


# Owners.


@pytest.mark.parametrize("token", [None, "token-of-nobody", "token-of-ann\tand more", "x" * 5000])
def test_without_a_token_of_this_server_nothing_is_told(shared: Shared, token: str | None) -> None:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    for path in ("/v1/jobs", "/v1/datasets", "/v1/config", "/v1/models", "/metrics", "/v1/jobs/" + "0" * 32):
        response = httpx.get(f"{shared.rig.server.url}{path}", headers=headers, timeout=20, trust_env=False)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer", path
    with shared.rig.server.client(token="another", progress=False) as client, pytest.raises(Unauthorized):
        client.query_by_uri(shared.pool("never", 2), budget=1)


def test_another_owners_datasets_jobs_and_reports_are_not_there(shared: Shared) -> None:
    with shared.client("ann") as ann, shared.client("bob") as bob:
        ann.push_data(shared.pool("anns", 4), dataset="anns")
        job = ann.query(budget=1, dataset="anns").job
        for look in (
            lambda: bob.job(job.id),
            lambda: bob.report(job.id),
            lambda: bob.cancel(job.id),
            lambda: bob.dataset(job.dataset_id),
            lambda: bob.dataset("anns"),
            lambda: list(bob.samples(job.dataset_id)),
            lambda: bob.query(budget=1, dataset=job.dataset_id),
            lambda: bob.label({shared.pool("anns", 1)[0]: "cat"}, dataset=job.dataset_id),
        ):
            with pytest.raises(NotFound):
                look()
        assert job.id in {one.id for one in ann.jobs()} and job.id not in {one.id for one in bob.jobs()}
        assert "anns" not in {one.name for one in bob.datasets()}
        assert ann.job(job.id).state is JobState.SUCCEEDED


def test_features_of_one_owner_are_not_used_for_another(shared: Shared) -> None:
    pool = shared.pool("both", 8)
    with shared.client("ann") as ann, shared.client("bob") as bob:
        anns = ann.query_by_uri(pool, budget=3)
        assert shared.asked_for(pool) == 8
        bobs = bob.query_by_uri(pool, budget=3)
        assert shared.asked_for(pool) == 16, "Bob's samples are fetched for him"
        assert bobs == anns == bob.query_by_uri(pool, budget=3)
        assert shared.asked_for(pool) == 16, "and kept for him"


def test_what_one_owner_sent_up_is_not_there_for_another(shared: Shared, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(images.jpeg(seed=300 + number))
    with shared.client("ann") as ann, shared.client("bob") as bob:
        selected = ann.query_by_images(paths, budget=2)
        assert set(selected) == {str(path) for path in paths}
        uploads = [chosen.uri for chosen in selected.report.selected]
        with pytest.raises(JobFailed, match="2 not_found"):
            bob.wait(bob.submit_job(uris=uploads, budget=1), timeout_s=60)
