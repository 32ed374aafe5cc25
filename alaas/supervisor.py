"""Keeps processes running: starts them by command, starts again what dies, and leaves nothing behind when it ends.

Knows nothing of ALaaS; alaas.fleet says which processes there are.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from alaas import guard
from alaas.process import Command, Echo, Process, exit_words

logger = logging.getLogger(__name__)
LOOK_S = 0.1
ORPHAN_GRACE_S = 5.0


class Supervisor:
    """`keep_open`: file descriptors that must live as long as the last process (the lock of a data folder).

    `orphan_grace_s`: between SIGTERM and SIGKILL for the processes that a killed supervisor leaves behind.
    """

    def __init__(
        self,
        log_dir: Path,
        *,
        echo: Echo | None = None,
        keep_open: Sequence[int] = (),
        orphan_grace_s: float = ORPHAN_GRACE_S,
    ) -> None:
        self._log_dir = log_dir
        self._echo = echo
        self._processes: list[Process] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)
        log_dir.mkdir(parents=True, exist_ok=True)
        self._guard = _Guard(keep_open, orphan_grace_s)

    @property
    def processes(self) -> list[Process]:
        return list(self._processes)

    def start(self, command: Command) -> Process:
        """Start `command` and keep it running until `stop`. Raises OSError when there is no such program."""
        process = Process(command, self._log_dir / f"{command.name}.log", self._echo)
        with self._lock:
            if self._stopping.is_set():
                raise RuntimeError("the supervisor has stopped")
            self._spawn(process)
            self._processes.append(process)
            if self._watch.ident is None:
                self._watch.start()
        return process

    def remove(self, process: Process) -> None:
        """End a process and forget it."""
        with self._lock:
            self._processes.remove(process)
            self._end([process], 1.0)

    def stop(self, grace_s: float = 10.0) -> None:
        """End everything: SIGTERM, wait up to `grace_s`, SIGKILL; the stores after the rest. Idempotent."""
        self._stopping.set()
        if self._watch.ident is not None:
            self._watch.join()
        with self._lock:
            self._end([process for process in self._processes if not process.command.is_store], grace_s)
            self._end([process for process in self._processes if process.command.is_store], grace_s)
            self._guard.close()

    def _keep_running(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with self._lock:
                self._guard.renew(self._processes)
                for process in self._processes:
                    if (pid := process.dead_pid()) is not None:
                        self._bury(process, pid)
                    elif process.is_due:
                        self._start_again(process)

    def _bury(self, process: Process, pid: int) -> None:
        guard.send(pid, signal.SIGKILL)  # Children that it left behind hold memory and ports.
        self._guard.forget(pid)
        pause_s = max(0.0, process.due_s - time.monotonic())
        self._say(process, f"died ({exit_words(process.last_exit)}); starts again in {pause_s:.1f} s")

    def _start_again(self, process: Process) -> None:
        process.restarts += 1
        try:
            self._spawn(process)
        except OSError as error:  # No memory or no descriptors at this moment.
            process.quick_deaths += 1
            process.postpone()
            self._say(process, f"cannot be started: {error.strerror}")

    def _spawn(self, process: Process) -> None:
        self._guard.watch(process.start(), process.command.is_store)

    def _say(self, process: Process, text: str) -> None:
        process.say(text)
        if self._echo is None:
            logger.warning("%s %s", process.command.name, text)

    def _end(self, processes: list[Process], grace_s: float) -> None:
        children = [process.child for process in processes if process.child is not None]
        for child in children:
            guard.send(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            guard.send(child.pid, signal.SIGKILL)
            child.wait()
            self._guard.forget(child.pid)
        for process in processes:
            process.join()


class _Guard:
    """Our end of alaas.guard: tells it which process groups to end should we vanish."""

    def __init__(self, keep_open: Sequence[int], grace_s: float) -> None:
        self._keep_open = tuple(keep_open)
        self._grace_s = grace_s
        self._spawn()

    def _spawn(self) -> None:
        read_end, self._write_end = os.pipe()
        # Isolated and without site-packages: it must start fast, weigh little and depend on nobody's environment.
        command = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(self._grace_s)]
        try:
            self._child = subprocess.Popen(
                command, stdin=read_end, stdout=subprocess.DEVNULL, start_new_session=True, pass_fds=self._keep_open
            )
        finally:
            os.close(read_end)

    def watch(self, group: int, is_store: bool) -> None:
        self._write(f"+ {group} {int(is_store)}\n")

    def forget(self, group: int) -> None:
        self._write(f"- {group}\n")

    def renew(self, processes: Sequence[Process]) -> None:
        """Start another when it was killed, and tell it everything."""
        if self._child.poll() is None:
            return
        logger.warning("the guard died; starting another")
        os.close(self._write_end)
        self._spawn()
        for process in processes:
            if process.pid is not None:
                self.watch(process.pid, process.command.is_store)

    def _write(self, line: str) -> None:
        with suppress(BrokenPipeError):  # It died: `renew` follows.
            os.write(self._write_end, line.encode())

    def close(self) -> None:
        if self._child.returncode is None:
            os.close(self._write_end)
            self._child.wait()
