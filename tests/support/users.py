"""What a user does in a shell: a script or a command in a folder of its own, Ctrl-C, and a look at what still runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

PATIENCE_S = 120.0
"""A machine that runs other tests beside ours may need most of it to start a fleet; a quiet one takes seconds."""


def alaas_command(*arguments: str) -> list[str]:
    """The console script of this very environment."""
    return [str(Path(sys.executable).with_name("alaas")), *arguments]


class Started:
    """A running command. Its output goes to a file in `folder`, as to a terminal: both streams, in order."""

    def __init__(self, command: Sequence[str], folder: Path, **environment: str) -> None:
        self.folder = folder
        self._log = folder / f"{Path(command[-1]).stem or 'command'}-{time.monotonic_ns()}.log"
        settings = {name: value for name, value in os.environ.items() if not name.startswith("ALAAS_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=settings | {"PYTHONUNBUFFERED": "1"} | environment, start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Until the output holds `text`."""
        until(lambda: text in self.output or self.process.poll() is not None, timeout_s, lambda: self.output[-3000:])
        assert text in self.output, self.output[-3000:]

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s:\n{self.output[-3000:]}") from None

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        """What a failed test leaves behind ends here, orderly if it can."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(30)
                except subprocess.TimeoutExpired:
                    continue


def run_script(script: Path, timeout_s: float = PATIENCE_S) -> str:
    """Run a Python script in its own folder; what it printed. Its failure is the test's."""
    with Started([sys.executable, script.name], script.parent) as started:
        status = started.wait(timeout_s)
        assert status == 0, started.output[-3000:]
        return started.output


def running_below(folder: Path) -> list[str]:
    """The command lines of processes that work in `folder` or beneath it: all that a fleet started there has."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or is not ours to look at
    return found


def until(holds: Callable[[], bool], timeout_s: float, explain: Callable[[], object] = lambda: "") -> None:
    """Wait until `holds()`; fail with `explain()` when it takes longer."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {explain()}"
        time.sleep(0.05)
