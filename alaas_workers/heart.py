"""Beats the leases of a process while their work moves on; a hang stops the beat, and the lease runs out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from alaas.config import Config
from alaas.errors import AlaasError, Unavailable
from alaas_workers.ledger import Lease, Ledger

logger = logging.getLogger(__name__)


class LeaseLost(AlaasError):
    """Another worker has the unit by now: stop, nothing of this work will count."""

    code = "lease_lost"


class Hold:
    """A lease while its work runs."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.is_lost = False
        self.is_over = False
        self.last_progress_s = time.monotonic()
        self.beating = threading.Lock()  # the end waits for a beat that is under way

    def progress(self) -> None:
        """Say that the work moved on. Raises LeaseLost when going on is useless."""
        self.last_progress_s = time.monotonic()
        if self.is_lost:
            raise LeaseLost("the lease ran out")


class Heart:
    """One per process, made after a fork. A heart in a thread that beat while the work hangs would hide the hang."""

    def __init__(
        self, ledger: Ledger, config: Config, *, shared_progress: bool = False, computing_counts: bool = False
    ) -> None:
        """`shared_progress`: work of this process runs on one device in turn, so progress of one is progress of all.

        `computing_counts`: work that computes for long without a word, as a strategy does, moves on while it takes
        processor time; one that sleeps does not.
        """
        self._ledger = ledger
        self._interval_s = config.pipeline.lease_s / 3
        self._stall_s = config.pipeline.stall_s
        self._shared_progress = shared_progress
        self._computing_counts = computing_counts
        self._computed_s = 0.0  # processor time of this process at the last beat
        self._holds: set[Hold] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Hold]:
        hold = Hold(lease)
        with self._lock:
            self._holds.add(hold)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
                self._thread.start()
        try:
            yield hold
        finally:
            with self._lock:
                self._holds.discard(hold)
            # A beat that came after the work was given up would hold its unit for another lease.
            with hold.beating:
                hold.is_over = True

    def _run(self) -> None:
        while True:
            time.sleep(self._interval_s)
            with self._lock:
                holds = list(self._holds)
            self.beat(holds)

    def beat(self, holds: list[Hold]) -> None:
        """Extend each lease whose work has moved within the stall limit."""
        if self._computing_counts and self._has_computed():
            for hold in holds:
                hold.last_progress_s = time.monotonic()
        newest_s = max((hold.last_progress_s for hold in holds), default=0.0)
        for hold in holds:
            moved_s = newest_s if self._shared_progress else hold.last_progress_s
            if time.monotonic() - moved_s > self._stall_s:
                logger.error("no progress on %s for %.0f s: its lease runs out", hold.lease.unit, self._stall_s)
                continue
            with hold.beating:
                if not hold.is_over:
                    self._beat(hold)

    def _has_computed(self) -> bool:
        """Whether the process took a tenth of a processor since the last beat; idle threads take far less."""
        before, self._computed_s = self._computed_s, time.process_time()
        return self._computed_s - before > self._interval_s / 10

    def _beat(self, hold: Hold) -> None:
        try:
            hold.is_lost = not self._ledger.beat(hold.lease)
        except Unavailable:
            logger.warning("the lease of %s could not be beaten", hold.lease.unit)
        except Exception:
            # Whatever it was, the heart must not end: the process would go on without ever beating again.
            logger.exception("the lease of %s could not be beaten", hold.lease.unit)
