from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alaas import Server, fleet, readiness
from alaas.config import Config, load_config
from alaas.embedded import EmbeddedRedis
from alaas.errors import ConfigError, Unavailable
from alaas.process import Command
from tests.support.waiting import is_running, wait_for
from tests.unit.alaas import standin

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A start folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    standin.use(monkeypatch)
    with Server(port=0) as server:
        yield server


def pids(server: Server) -> list[int]:
    return [process.pid for process in server.fleet.processes if process.pid is not None]


def test_a_server_is_ready_when_start_returns_and_gone_when_stopped(server: Server) -> None:
    with server.client() as client:
        assert client.health()["ready"]
    names = [process.command.name for process in server.fleet.processes]
    assert names == ["redis-ledger", "redis-cache", "api", "download"]
    running = pids(server)
    server.stop()
    assert not any(map(is_running, running))


def test_a_stopped_server_can_be_started_again(server: Server) -> None:
    server.stop()
    assert server.start(block=False).url.startswith("http://127.0.0.1:")


def test_the_effective_configuration_leaves_nothing_open(server: Server, folder: Path) -> None:
    path = folder / ".alaas" / "run" / "effective.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = load_config(path, environ={})
    assert config == server.config
    assert config.broker.url is not None and config.cache.url is not None
    assert config.broker.url.get_secret_value().startswith("redis://:")
    assert config.api.port != 0
    assert config.storage.data_dir == folder / ".alaas"
    assert config.sources.file.roots == [folder]
    assert config.catalog_url == f"sqlite:///{folder}/.alaas/catalog.sqlite"


def test_the_data_folder_is_private_and_not_for_git(server: Server, folder: Path) -> None:
    assert stat.S_IMODE((folder / ".alaas").stat().st_mode) == 0o700
    assert (folder / ".alaas" / ".gitignore").read_text() == "*\n"


def test_a_process_that_dies_comes_back_while_serving(server: Server) -> None:
    api = next(process for process in server.fleet.processes if process.command.name == "api")
    assert api.pid is not None
    os.kill(api.pid, signal.SIGKILL)
    wait_for(lambda: api.restarts == 1)
    assert server.fleet.wait_until_ready(15)


def test_a_second_server_on_the_same_folder_is_refused(server: Server) -> None:
    with pytest.raises(ConfigError, match=f"in use by another ALaaS server \\(process {os.getpid()}\\)"):
        Server(port=0).start(block=False)


def test_a_port_that_is_taken_is_told_before_anything_starts(folder: Path, taken_port: int) -> None:
    with pytest.raises(ConfigError, match=f"port {taken_port} of 127.0.0.1 is taken") as caught:
        Server(port=taken_port).start(block=False)
    assert caught.value.field == "api.port"
    assert not (folder / ".alaas" / "redis").exists()


@pytest.mark.parametrize(("host", "field"), [("192.0.2.1", "api.host"), ("no.such.host.invalid", "api.host")])
def test_an_address_that_is_not_ours_is_told(folder: Path, host: str, field: str) -> None:
    token = [{"owner": "me", "sha256": "0" * 64}]
    with pytest.raises(ConfigError) as caught:
        Server(host=host, port=0, api__tokens=token).start(block=False)
    assert caught.value.field == field


def test_a_process_that_keeps_dying_ends_the_start_with_its_last_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.use(monkeypatch, worker="print('no such model'); exit(7)", checks={"x": {"ok": False, "detail": "away"}})
    monkeypatch.setattr(readiness, "HOPELESS_DEATHS", 2)
    with pytest.raises(Unavailable) as caught:
        Server(port=0).start(block=False)
    for words in ("a process keeps dying", "x (away)", "last by exit 7", "| no such model", str(folder / ".alaas")):
        assert words in caught.value.detail


def test_what_is_not_ready_in_time_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.use(monkeypatch, checks={"inference": {"ok": False, "detail": "0 processes alive"}})
    with pytest.raises(Unavailable, match=r"not ready after 1 s: .*inference \(0 processes alive\)"):
        Server(port=0).start(block=False, timeout_s=1)


def test_a_model_that_cannot_be_loaded_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.use(monkeypatch, checks={"model m": {"ok": False, "detail": "the file is corrupt"}})
    monkeypatch.setattr(readiness, "HOPELESS_MODEL_S", 0.1)
    with pytest.raises(Unavailable, match=r"model m \(the file is corrupt\)"):
        Server(port=0).start(block=False)


def test_a_start_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Config, path: Path) -> list[Command]:
        raise RuntimeError("broken")

    monkeypatch.setattr(fleet, "commands_for", broken)
    server = Server(port=0)
    with pytest.raises(RuntimeError):
        server.start(block=False)
    assert pids(server) == []
    standin.use(monkeypatch)
    with server:
        assert pids(server)


def test_a_redis_that_does_not_start_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: EmbeddedRedis, max_memory_bytes: int) -> Command:
        return Command("redis", [sys.executable, "-c", "exit('bad file format')"], {}, self.folder, is_store=True)

    monkeypatch.setattr(EmbeddedRedis, "command", broken)
    with pytest.raises(Unavailable, match=r"Redis of the ledger does not start(.|\n)*bad file format"):
        Server(port=0).start(block=False)


def test_no_redis_is_started_where_one_is_configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.use(monkeypatch)
    urls = {"broker__url": "redis://one/0", "cache__url": "redis://two/0"}
    with Server(port=0, **urls) as server:
        assert [process.command.name for process in server.fleet.processes] == ["api", "download"]


def test_stop_from_another_thread_ends_a_blocking_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.use(monkeypatch)
    server = Server(port=0)

    def stop_it() -> None:
        wait_for(lambda: len(pids(server)) == 4)
        server.stop()

    threading.Thread(target=stop_it).start()
    server.start()
    assert pids(server) == []


@pytest.fixture
def serving(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`Server(...).start()` in a process of its own, ready."""
    program = [sys.executable, "-m", "tests.unit.alaas.standin", str(folder / "data")]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ALaaS is ready on http://127.0.0.1:" in process.stdout.readline()
        yield process
        process.kill()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_blocking_start_stops_cleanly_at_a_signal(serving: subprocess.Popen[str], number: signal.Signals) -> None:
    running = children(serving.pid)
    assert len(running) == 5  # two Redis, two stand-ins, the guard
    serving.send_signal(number)
    _, said = serving.communicate(timeout=20)
    assert serving.returncode == 0 and "Traceback" not in said
    assert "download     | ready" in said
    assert not any(map(is_running, running))


def test_a_server_that_is_killed_leaves_nothing(serving: subprocess.Popen[str], folder: Path) -> None:
    running = children(serving.pid)
    started = time.monotonic()
    serving.kill()
    wait_for(lambda: not any(map(is_running, running)), 20)
    assert time.monotonic() - started < 10
