"""The sweep: units whose worker fell silent come back, and hints that were lost are sent again."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Sequence

from alaas.config import Config
from alaas.errors import SampleCode
from alaas.jobs import Problem, Stage
from alaas_workers.app import Hints
from alaas_workers.ledger import FailedAt, Ledger, Outcome, Overdue, Unit

logger = logging.getLogger(__name__)


class Sweeper:
    """One per dispatcher; any number may run, since each overdue unit goes to one of them."""

    def __init__(self, config: Config, ledger: Ledger, hints: Hints) -> None:
        self._max_attempts = config.pipeline.max_attempts
        self._ledger, self._hints = ledger, hints
        self._sent_again: Counter[Unit] = Counter()  # of the open units

    def sweep(self) -> None:
        overdue = self._ledger.sweep()
        if not overdue:
            return
        started = time.perf_counter()
        crashed = [item for item in overdue if item.attempts >= self._max_attempts]
        for item in crashed:
            self._give_another_course(item.unit)
        others = [item for item in overdue if item.attempts < self._max_attempts]
        expired = [item.unit for item in others if item.was_leased]
        for unit in expired:
            self._hints.send(unit, unit.stage)
        for unit in self._lost_hints([item for item in others if not item.was_leased]):
            self._hints.send(unit, unit.stage)
        logger.info(
            "sweep: %d leases ran out, %d units unclaimed, %d given another course (%.0f ms)",
            len(expired), len(others) - len(expired), len(crashed), 1000 * (time.perf_counter() - started),
        )  # fmt: skip

    def _lost_hints(self, overdue: Sequence[Overdue]) -> list[Unit]:
        """Those whose hints must be gone: as many as there are open units without a message in the queue.

        Sending again what merely waits would flood the queues (3,604 units became 8,320 sends in a trial). Which of the
        overdue lost theirs cannot be told, so they take turns: in one fixed order a unit without a hint could stand
        behind others that merely wait for as long as there are any.
        """
        if not overdue:
            return []
        opened, held = self._ledger.open_units()
        unclaimed = Counter(unit.stage for unit in opened if unit not in held)
        waiting = self._hints.waiting()
        lost = {stage: max(0, unclaimed[stage] - waiting[stage]) for stage in Stage}
        self._sent_again = Counter({unit: self._sent_again[unit] for unit in opened if unit in self._sent_again})
        units = []
        for item in sorted(overdue, key=lambda item: self._sent_again[item.unit]):
            if lost[item.unit.stage] > 0:
                lost[item.unit.stage] -= 1
                units.append(item.unit)
        self._sent_again.update(units)
        return units

    def _give_another_course(self, unit: Unit) -> None:
        """A unit whose worker was lost too often: a chunk is split in two, one sample is given up."""
        if unit.stage is Stage.SELECTION:
            job = self._ledger.job(unit.job)
            what = "import" if job is not None and job.spec.imports else "selection"
            self._ledger.fail(unit.job, _crashed(what, self._max_attempts))
            return
        lease = self._ledger.claim(unit, f"sweeper/{secrets.token_hex(8)}")
        if lease is None:
            return
        if len(lease.samples) > 1:
            halves = self._ledger.split(lease, attempts=self._attempts_of_halves(len(lease.samples)))
            logger.warning("%s: lost its worker %d times, split in two", unit, self._max_attempts)
            for half in halves:
                self._hints.send(half, half.stage)
            return
        logger.error("%s: lost its worker each time, its one sample is given up", unit)
        failed = [FailedAt(lease.samples[0].ordinal, SampleCode.WORKER_CRASH, "")]
        _, opened = self._ledger.done(lease, None, Outcome(0, failed), 0.0)
        if opened is not None:
            self._hints.send(opened, opened.stage)

    def _attempts_of_halves(self, size: int) -> int:
        """One below the limit, so that the search for the culprit costs one crash a level.

        A half that may be a single sample gets one try more: its end stays, and somebody may just have pulled a plug.
        """
        return max(0, self._max_attempts - (1 if size > 3 else 2))


def _crashed(what: str, attempts: int) -> Problem:
    """`what`: import or selection."""
    detail = f"the {what} lost its worker or failed {attempts} times; the selection worker's log says why"
    return Problem(title=f"The {what} failed", status=500, code=f"{what}_crashed", detail=detail)
