"""One process under the supervisor: how it is started, how its output is kept, when it is started again."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

QUICK_DEATH_S = 20.0  # who lives shorter is started again after a growing pause
LONGEST_PAUSE_S = 30.0
LONGEST_STORE_PAUSE_S = 2.0  # everything waits for Redis, so it is never left alone for long
MAX_LOG_BYTES = 20 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
TAIL_LINES = 30

Echo = Callable[[str, str], None]
"""Shows one line of the process of that name to whoever looks on."""


@dataclass(frozen=True)
class Command:
    """What to run. A store (Redis) is stopped after the processes that write to it, and is not echoed."""

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    is_store: bool = False


def restart_pause_s(quick_deaths: int, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds before the next start, after that many quick deaths in a row; 0.2 after the first."""
    return min(longest_s, 0.2 * 2.0 ** min(quick_deaths - 1, 20)) if quick_deaths else 0.0


class Process:
    """`child` is None while it is to be started again at `due_s` (monotonic). It leads its own process group."""

    def __init__(self, command: Command, log: Path, echo: Echo | None = None) -> None:
        self.command = command
        self.child: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.quick_deaths = 0
        self.last_exit: int | None = None  # negative: the signal that killed it
        self.due_s = 0.0
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = log
        self._echo = echo
        self._started_s = 0.0
        self._pump: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child is not None else None

    @property
    def is_due(self) -> bool:
        return self.child is None and time.monotonic() >= self.due_s

    def start(self) -> int:
        """The pid, which is the process group too: Ctrl-C in the terminal reaches only the supervisor."""
        child = subprocess.Popen(
            self.command.arguments,
            env=dict(self.command.env),
            cwd=self.command.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.child = child
        self._started_s = time.monotonic()
        self._pump = threading.Thread(target=self._read, args=(child,), name=self.command.name, daemon=True)
        self._pump.start()
        return child.pid

    def dead_pid(self) -> int | None:
        """The pid of a child that has died since the last look, which also decides when the next one starts."""
        if self.child is None or self.child.poll() is None:
            return None
        pid, self.last_exit, self.child = self.child.pid, self.child.returncode, None
        self.quick_deaths = self.quick_deaths + 1 if time.monotonic() - self._started_s < QUICK_DEATH_S else 0
        self.postpone()
        return pid

    def postpone(self) -> None:
        longest_s = LONGEST_STORE_PAUSE_S if self.command.is_store else LONGEST_PAUSE_S
        self.due_s = time.monotonic() + restart_pause_s(self.quick_deaths, longest_s)

    def say(self, text: str) -> None:
        """A line of the supervisor's about this process."""
        append_line(self._log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} [supervisor] {text}")
        if self._echo is not None:
            self._echo(self.command.name, text)

    def join(self) -> None:
        """Wait for the last lines of a child that has ended."""
        self.child = None
        if self._pump is not None:
            self._pump.join(1.0)

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        if child.stdout is None:
            return
        with child.stdout as output:
            while line := output.readline(MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip()
                self.tail.append(text)
                append_line(self._log, text)
                if self._echo is not None and not self.command.is_store:
                    self._echo(self.command.name, text)


def exit_words(code: int | None) -> str:
    """`exit 1` or `SIGKILL`."""
    if code is None or code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def append_line(path: Path, text: str) -> None:
    """One more line of a log that keeps its last MAX_LOG_BYTES, and as much again in the file `.1`."""
    try:
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_name(path.name + ".1"))
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text + "\n")
    except OSError:
        pass  # A full disk must not stop the reader, or the process would block on its next line.
