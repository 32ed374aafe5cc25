"""`Server("example.yml").start()`: the fleet on this machine, in the words of the paper's Figure 3."""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from alaas.client import Client
from alaas.config import Config, load_config
from alaas.fleet import Fleet
from alaas.process import Echo
from alaas.readiness import READY_TIMEOUT_S

__all__ = ["Server"]

_SHORT = {"host": "api.host", "port": "api.port", "data_dir": "storage.data_dir"}
_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Server:
    """The API, the dispatcher, the workers and, when none is configured, Redis: started, kept running, stopped.

    `config_path`: a file in any of the three formats. `overrides` go before it: `port=9000`, `host`, `data_dir`,
    and any setting with `__` for the dots (`workers__download__processes=2`). Raises ConfigError.
    """

    def __init__(self, config_path: str | Path | None = None, **overrides: Any) -> None:
        self.fleet = Fleet(load_config(config_path, _dotted(overrides)))
        self._stopped = threading.Event()

    @property
    def config(self) -> Config:
        """Once started, with the ports and addresses in use."""
        return self.fleet.config

    @property
    def url(self) -> str:
        return self.fleet.url

    def client(self, **options: Any) -> Client:
        """A client of this server; `options` as of Client (`token`)."""
        return Client(self.url, **options)

    def start(
        self,
        block: bool = True,
        *,
        timeout_s: float = READY_TIMEOUT_S,
        on_ready: Callable[[Server], None] | None = None,
    ) -> Server:
        """Start everything; return when it is ready, or with `block` when Ctrl-C, SIGTERM or `stop` ended it.

        With `block`, what the processes say goes to the terminal; without, only to `data_dir/logs`.
        Raises ConfigError or Unavailable, with nothing left running.
        """
        self._stopped.clear()
        self.fleet = Fleet(self.config, echo=terminal_echo() if block else None)
        if block:
            self._serve(timeout_s, on_ready or _say_address)
        else:
            self._bring_up(timeout_s, self._stopped.is_set)
            atexit.register(self.stop)
        return self

    def _serve(self, timeout_s: float, on_ready: Callable[[Server], None]) -> None:
        with _stop_signals() as asked:

            def is_over() -> bool:
                return bool(asked) or self._stopped.is_set()

            try:
                if self._bring_up(timeout_s, is_over):
                    on_ready(self)
                while not is_over():
                    time.sleep(0.1)
            finally:
                self.stop()

    def _bring_up(self, timeout_s: float, given_up: Callable[[], bool]) -> bool:
        try:
            self.fleet.start(given_up)
            return self.fleet.wait_until_ready(timeout_s, given_up)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every process: SIGTERM, and SIGKILL for what does not go. Idempotent; `start` may follow."""
        self._stopped.set()
        self.fleet.stop()
        atexit.unregister(self.stop)

    def __enter__(self) -> Server:
        return self.start(block=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    return {_SHORT.get(name, name.replace("__", ".")): plain(value) for name, value in overrides.items()}


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The stop signals that came so far. Outside the main thread Python takes none, and `stop` is the way."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, note) for number in _STOP_SIGNALS}
    try:
        yield asked
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def terminal_echo() -> Echo:
    """Whole lines with the process's name before them, also when several processes speak at once."""
    lock = threading.Lock()

    def echo(name: str, text: str) -> None:
        with lock:
            try:
                print(f"{name:<12} | {text}", file=sys.stderr, flush=True)
            except (OSError, ValueError):
                pass  # The terminal is gone; the log files are not.

    return echo


def _say_address(server: Server) -> None:
    print(f"ALaaS is ready on {server.url} (Ctrl-C stops it)", flush=True)
