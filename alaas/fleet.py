"""The whole of ALaaS on this machine: which processes a configuration asks for, and their life from start to stop.

alaas.server and `alaas serve` stand on it. It starts processes by command only, so it loads nothing of theirs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from alaas import readiness
from alaas.commands import check_installed, commands_for
from alaas.config import Config
from alaas.config.effective import effective_config
from alaas.config.loading import dump_config
from alaas.embedded import EmbeddedRedis, Role, embedded_redis
from alaas.errors import Unavailable
from alaas.files import lock_folder, make_private_folder, write_private
from alaas.ports import LOOPBACK, usable_port
from alaas.process import Echo, Process
from alaas.serving_engine import with_engines
from alaas.supervisor import Supervisor

REDIS_TIMEOUT_S = 60.0
REDIS_TRIES = 3
GRACE_S = 15.0  # a worker finishes the chunk in hand; one that takes longer is killed, and the chunk done again


class Fleet:
    """`start`, `wait_until_ready`, `stop`. `config` becomes the effective one at start: ports, passwords, addresses."""

    def __init__(self, config: Config, *, echo: Echo | None = None) -> None:
        self.config = config
        self.data_dir = config.storage.data_dir.expanduser().resolve()
        self._echo = echo
        self._lock: int | None = None
        self._stopping = threading.Lock()
        self._supervisor: Supervisor | None = None

    @property
    def url(self) -> str:
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.config.api.host, self.config.api.host)  # noqa: S104
        return f"http://[{host}]:{self.config.api.port}" if ":" in host else f"http://{host}:{self.config.api.port}"

    @property
    def config_path(self) -> Path:
        return self.data_dir / "run" / "effective.yml"

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def processes(self) -> list[Process]:
        return self._supervisor.processes if self._supervisor is not None else []

    def start(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Start every process. Raises ConfigError when the folder or a port is taken or Redis is nowhere.

        `given_up`: ends the waiting for a container that is on its way.
        """
        check_installed()
        make_private_folder(self.data_dir)
        self._lock = lock_folder(self.data_dir / "run")
        try:
            chosen: dict[str, str | int] = {"api.port": usable_port(self.config.api.host, self.config.api.port, "api")}
            if self.config.flower.enabled:
                chosen["flower.port"] = usable_port(self.config.flower.host, self.config.flower.port, "flower")
            self._supervisor = Supervisor(self.logs, echo=self._echo, keep_open=[self._lock])
            self._start_all(self._supervisor, chosen, given_up)
        except BaseException:
            self.stop()
            raise

    def _start_all(self, supervisor: Supervisor, chosen: dict[str, str | int], given_up: Callable[[], bool]) -> None:
        if self.config.broker.url is None:
            chosen["broker.url"] = self._redis(supervisor, "ledger", self.config.broker.max_memory_bytes)
        if self.config.cache.url is None:
            chosen["cache.url"] = self._redis(supervisor, "cache", self.config.cache.max_memory_bytes)
        self._use(effective_config(self.config, chosen))
        self._use(with_engines(self.config, self.config_path, supervisor, given_up))
        for command in commands_for(self.config, self.config_path):
            supervisor.start(command)

    def _use(self, config: Config) -> None:
        self.config = config
        write_private(self.config_path, dump_config(config, secrets=True))

    def _redis(self, supervisor: Supervisor, role: Role, max_memory_bytes: int) -> str:
        """Start an embedded instance and wait until it answers; its URL."""
        said = ""
        for _ in range(REDIS_TRIES):  # Another program may take the port between our look and Redis's.
            redis = embedded_redis(role, self.data_dir / "redis" / role)
            process = supervisor.start(redis.command(max_memory_bytes))
            if _answers(redis, process):
                return redis.url
            supervisor.remove(process)
            redis.forget_address()
            said = readiness.last_lines(process)
        raise Unavailable(f"the embedded Redis of the {role} does not start:\n{said}")

    def wait_until_ready(
        self, timeout_s: float = readiness.READY_TIMEOUT_S, given_up: Callable[[], bool] = lambda: False
    ) -> bool:
        """See alaas.readiness."""
        return readiness.wait_until_ready(self.url, lambda: self.processes, self.logs, timeout_s, given_up)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End every process and free the folder. Idempotent; of two threads that stop it, one waits for the other."""
        with self._stopping:
            if self._supervisor is not None:
                self._supervisor.stop(grace_s)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None


def _answers(redis: EmbeddedRedis, process: Process) -> bool:
    """True once it does; False when it died first."""
    deadline = time.monotonic() + REDIS_TIMEOUT_S
    while time.monotonic() < deadline and process.last_exit is None:
        if redis.is_ready():
            return True
        time.sleep(0.02)
    return False
