"""Who works: every claim that reaches the ledger's Redis, seen by its MONITOR, so that none is missed."""

from __future__ import annotations

import re
import threading
from typing import NamedTuple

import redis

_TOKEN = re.compile(r"\b(download|preprocess|inference|selection)@([\w.-]+):(\d+)/")


class Worker(NamedTuple):
    stage: str
    host: str
    pid: int


class Claims:
    """`workers`: whose tokens were seen while the block ran."""

    def __init__(self, client: redis.Redis) -> None:
        self.workers: set[Worker] = set()
        self._client = client
        self._is_over = threading.Event()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def hosts(self, stage: str) -> set[str]:
        return {worker.host for worker in self.workers if worker.stage == stage}

    def pids(self, stage: str) -> set[int]:
        return {worker.pid for worker in self.workers if worker.stage == stage}

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
            self._is_listening.set()
            for command in monitor.listen():
                for stage, host, pid in _TOKEN.findall(command["command"]):
                    self.workers.add(Worker(stage, host, int(pid)))
                if self._is_over.is_set():
                    return

    def __enter__(self) -> Claims:
        self._thread.start()
        assert self._is_listening.wait(10), "Redis gives no MONITOR"
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._client.ping()  # one more command, so that the listener wakes and ends
        self._thread.join(10)
        self._client.close()
