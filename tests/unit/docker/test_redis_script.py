"""docker/redis.sh against a real Redis: the two roles, and the user that is allowed no administration."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from alaas.config import parse_config
from alaas.jobs import Stage
from alaas_workers import keys
from alaas_workers.app import Hints, make_app
from alaas_workers.cache import Cache
from alaas_workers.ledger import ChunkSample, JobSpec, Ledger, Outcome, Unit
from tests.support.redis_server import free_port, redis_executable

SCRIPT = Path(__file__).resolve().parents[3] / "docker" / "redis.sh"
PASSWORD = "a1b2c3"


@pytest.fixture(params=["ledger", "cache"], scope="module")
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def port(role: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, folder = free_port(), tmp_path_factory.mktemp(role)
    settings = {"REDIS_PASSWORD": PASSWORD, "PORT": str(port), "DATA_DIR": str(folder), "MAXMEMORY": "64mb"}
    env = os.environ | settings | {"REDIS_SERVER": redis_executable()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["sh", str(SCRIPT), role], env=env, stdout=log, stderr=log)
    try:
        _wait_for(port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    with redis.Redis(port=port, username="alaas", password=PASSWORD, socket_timeout=1) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)


@pytest.fixture
def user(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port, username="alaas", password=PASSWORD) as client:
        yield client


def test_each_role_has_its_own_policy(role: str, user: redis.Redis) -> None:
    memory, persistence = user.info("memory"), user.info("persistence")
    assert memory["maxmemory"] == 64 * 1024 * 1024
    assert memory["maxmemory_policy"] == {"ledger": "noeviction", "cache": "allkeys-lru"}[role]
    assert persistence["aof_enabled"] == {"ledger": 1, "cache": 0}[role]


def test_nobody_enters_without_the_password(port: int) -> None:
    for username, password in ((None, None), ("default", PASSWORD), ("alaas", "wrong")):
        with redis.Redis(port=port, username=username, password=password, retry=Retry(NoBackoff(), 0)) as client:
            with pytest.raises(redis.AuthenticationError):
                client.ping()


@pytest.mark.parametrize("command", ["CONFIG GET *", "FLUSHALL", "KEYS *", "SHUTDOWN", "DEBUG SLEEP 0", "ACL LIST"])
def test_the_user_administers_nothing(user: redis.Redis, command: str) -> None:
    with pytest.raises(NoPermissionError):
        user.execute_command(*command.split())  # type: ignore[no-untyped-call]  # redis leaves it untyped


def test_the_user_touches_no_keys_but_ours(user: redis.Redis) -> None:
    with pytest.raises(NoPermissionError):
        user.set("other", "1")


def test_the_rights_are_enough_for_the_ledger_the_hints_and_the_cache(port: int, user: redis.Redis) -> None:
    url = f"redis://alaas:{PASSWORD}@127.0.0.1:{port}/0"
    config = parse_config({"broker": {"url": url}, "cache": {"url": url}})
    ledger, cache, hints = Ledger.open(config), Cache.open(config), Hints(make_app(config))
    ledger.open_job("job", JobSpec("me", "dataset", "model", "", "", ()), 1)
    _, units = ledger.admit(ledger.jobs()[0], 0, True, [ChunkSample(0, "file:///x", "")], 0)
    hints.send(units[0], Stage.DOWNLOAD)
    assert user.llen(f"{keys.MESSAGES}download") == 1
    lease = ledger.claim(units[0], "token")
    assert lease is not None
    assert ledger.done(lease, Stage.PREPROCESS, Outcome(1), 0.1) == (True, Unit("job", Stage.PREPROCESS, "0"))
    ledger.sign_of_life("download", "here")
    ledger.sweep()
    ledger.forget("job")
    assert ledger.free_fraction() > 0.5
    cache.put(units[0], b"bytes")
    assert cache.take(units[0]) == b"bytes"
    assert cache.room_bytes() == 64 * 1024 * 1024
