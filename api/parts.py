"""The parts that every route works with: those that create_app was given, and the bound on requests that wait long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import current_app

from alaas.config import Config
from alaas.errors import TooManyRequests
from alaas_workers.backends.triton_health import TritonHealth
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from alaas_workers.sources.file_source import FileSource
from api.http_metrics import HttpMetrics

EXTENSION = "alaas"
_BUSY = "too many event streams and waiting calls; ask GET /v1/jobs/{id} instead"


class Slots:
    """A bound on requests that keep a thread for long (event streams, POST /post and /v1/select): others never wait."""

    def __init__(self, count: int, detail: str = _BUSY) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._detail = detail

    def take(self) -> Callable[[], None]:
        """Hold one until the returned function is called, once or more often. Raises TooManyRequests."""
        if not self._free.acquire(blocking=False):
            raise TooManyRequests(self._detail)
        held = threading.Lock()

        def release() -> None:
            if held.acquire(blocking=False):
                self._free.release()

        return release


@dataclass(frozen=True)
class Parts:
    config: Config
    catalog: Catalog
    ledger: Ledger
    cards: ModelCards
    files: FileSource
    stopping: threading.Event
    slots: Slots
    selections: Slots
    triton: TritonHealth
    http: HttpMetrics = field(default_factory=HttpMetrics)


def parts() -> Parts:
    """Those of the application that serves the current request."""
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Parts)  # noqa: S101 - tells the type checker what create_app put there
    return found
