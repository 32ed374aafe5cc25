"""Whole fleets as processes, started for tests: their configuration, and what one can do to them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import redis
import yaml

from alaas import Client, Server
from alaas.config import Config, load_config
from alaas_workers import keys
from alaas_workers.ledger import Ledger, LedgerMetrics
from tests.support.redis_server import free_port

STAGES = ("download", "preprocess", "inference", "selection")


def write_config(folder: Path, **sections: Any) -> Path:
    """A configuration whose data lies in `folder`; sections given replace the defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({"storage": {"data_dir": str(folder / "data")}, **sections}, sort_keys=False))
    return path


class Rig:
    """A running fleet, with handles on its processes and both of its Redis."""

    def __init__(self, config_path: Path) -> None:
        self.config_path = config_path
        self.port = free_port()
        self.server = Server(config_path, port=self.port)

    def start(self) -> Rig:
        self.server = Server(self.config_path, port=self.port)
        self.server.start(block=False)
        return self

    def stop(self) -> None:
        self.server.stop()
        self._show_logs()

    def _show_logs(self) -> None:
        """Into the test's captured output, which pytest shows when the test failed."""
        for log in sorted(self.server.fleet.logs.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.name}", *lines[-25:], sep="\n")

    def __enter__(self) -> Rig:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self) -> Client:
        return self.server.client(progress=False)

    @property
    def config(self) -> Config:
        """The effective configuration, with the addresses of the embedded Redis."""
        return load_config(Path(load_config(self.config_path).storage.data_dir) / "run" / "effective.yml")

    def metrics(self) -> LedgerMetrics:
        return Ledger.open(self.config).metrics()

    def pids(self, name: str) -> list[int]:
        """Of the processes whose name begins so: "api", "dispatcher", a stage, "redis-ledger"."""
        processes = self.server.fleet.processes
        return [p.pid for p in processes if p.command.name.startswith(name) and p.pid is not None]

    def names(self) -> list[str]:
        return sorted(p.command.name for p in self.server.fleet.processes)

    def forget_features(self) -> None:
        """Empty the cache, waiting for a Redis that is starting again."""
        deadline = time.monotonic() + 30
        while True:
            try:
                with self.cache_redis() as client:
                    client.flushall()
                return
            except redis.RedisError:
                assert time.monotonic() < deadline, "the cache's Redis did not come back"
                time.sleep(0.2)

    def ledger_redis(self) -> redis.Redis:
        url = self.config.broker.url
        assert url is not None
        return redis.Redis.from_url(url.get_secret_value())

    def cache_redis(self) -> redis.Redis:
        url = self.config.cache.url
        assert url is not None
        return redis.Redis.from_url(url.get_secret_value())


class Faults:
    """What may go wrong, each by name; `rng` chooses among processes. The fleet has to mend itself."""

    def __init__(self, rig: Rig, rng: random.Random, lease_s: float) -> None:
        self._rig, self._rng, self._lease_s = rig, rng, lease_s
        self.done: list[str] = []
        self._timers: list[threading.Timer] = []

    def kill(self, name: str) -> None:
        """SIGKILL of one process."""
        if pids := self._rig.pids(name):
            self._signal(self._rng.choice(pids), signal.SIGKILL)
            self.done.append(f"kill {name}")

    def kill_child(self, name: str) -> None:
        """SIGKILL of a child of a prefork pool, whose parent lives on."""
        for pid in self._rig.pids(name):
            children = psutil.Process(pid).children()
            if children:
                self._signal(self._rng.choice(children).pid, signal.SIGKILL)
                self.done.append(f"kill child of {name}")
                return

    def freeze(self, name: str, for_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        if pids := self._rig.pids(name):
            pid = self._rng.choice(pids)
            self._signal(pid, signal.SIGSTOP)
            timer = threading.Timer(for_s, self._signal, (pid, signal.SIGCONT))
            timer.start()
            self._timers.append(timer)
            self.done.append(f"freeze {name} {for_s:g} s")

    def pop_hole(self, name: str) -> None:
        """A message taken by a worker that is stopped and then killed: Celery on Redis loses it."""
        if pids := self._rig.pids(name):
            pid = self._rng.choice(pids)
            self._signal(pid, signal.SIGSTOP)
            time.sleep(0.5)
            self._signal(pid, signal.SIGKILL)
            self.done.append(f"pop hole at {name}")

    def drop_messages(self, share: float, for_s: float) -> None:
        """Take that share of waiting hints away."""
        self._meddle(for_s, lambda client, queue, message: client.lrem(queue, 1, message.decode()), share)
        self.done.append(f"drop {share:.0%} of messages for {for_s:g} s")

    def triple_messages(self, for_s: float) -> None:
        """Send waiting hints twice more."""
        self._meddle(for_s, lambda client, queue, message: client.lpush(queue, message, message), 1.0)
        self.done.append(f"triple messages for {for_s:g} s")

    def _meddle(self, for_s: float, act: Callable[[redis.Redis, str, bytes], Any], share: float) -> None:
        deadline, seen = time.monotonic() + for_s, set()
        with self._rig.ledger_redis() as client:
            while time.monotonic() < deadline:
                try:
                    for stage in STAGES:
                        queue = f"{keys.MESSAGES}{stage}"
                        for message in client.lrange(queue, 0, -1):
                            if message not in seen:
                                seen.add(message)
                                if self._rng.random() < share:
                                    act(client, queue, message)
                except redis.RedisError:
                    pass
                time.sleep(0.005)

    def flush_cache(self) -> None:
        self._rig.forget_features()
        self.done.append("flush the cache")

    def wipe_ledger(self) -> None:
        try:
            with self._rig.ledger_redis() as client:
                client.flushall()
            self.done.append("wipe the ledger")
        except redis.RedisError:
            self.done.append("wipe the ledger, which was away")

    def restart_everything(self) -> None:
        self._rig.stop()
        self._rig.start()
        self.done.append("stop and start everything")

    def end(self) -> None:
        for timer in self._timers:
            timer.join()

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it was started again meanwhile
