"""A catalog that may be away when the server starts: opened at first use, tried again at most once a second."""

from __future__ import annotations

import threading
import time
from typing import Any

from alaas.errors import Unavailable
from alaas_workers.catalog import Catalog

RETRY_S = 1.0


class LateCatalog:
    """Every method of `Catalog`; each raises Unavailable, at once or within its timeout, until it could be opened."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._catalog: Catalog | None = None
        self._failed_at = -RETRY_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog or self._opened(), name)

    def _opened(self) -> Catalog:
        # One thread tries; the others need not wait to learn the same.
        if not self._lock.acquire(blocking=False):
            raise Unavailable("The catalog is being opened.", retry_after_s=1)
        try:
            if self._catalog is None:
                self._catalog = self._open()
            return self._catalog
        finally:
            self._lock.release()

    def _open(self) -> Catalog:
        if time.monotonic() - self._failed_at < RETRY_S:
            raise Unavailable("The catalog is away.", retry_after_s=2)
        try:
            return Catalog.open(self._url)
        except Unavailable:
            self._failed_at = time.monotonic()
            raise
