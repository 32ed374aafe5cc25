"""The dispatcher: opens jobs in the ledger, admits their chunks by turns, sweeps, and writes progress down.

`python -P -m alaas_workers.dispatcher`. Any number may run; everything they do is compare-and-set in the ledger.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from alaas.config import Config, load_config
from alaas.errors import NotFound, Unavailable
from alaas.jobs import SCAN_STAGES, JobState, Problem, Progress, Stage
from alaas_workers.app import Hints, make_app, node_name
from alaas_workers.cache import Cache
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.ledger import JobLedger, JobSpec, Ledger
from alaas_workers.logs import set_up_logs
from alaas_workers.model_cards import ModelCards
from alaas_workers.opening import (
    JobRefused,
    deadline_exceeded,
    import_spec,
    internal_problem,
    no_such_model,
    spec_of,
)
from alaas_workers.planner import Planner
from alaas_workers.sources import Sources
from alaas_workers.stages.selection import load_zoo
from alaas_workers.sweeper import Sweeper
from alaas_workers.wanted import needs_labelled

logger = logging.getLogger(__name__)
_TICK_S = 0.2  # the longest that admission waits; changes in the ledger wake it sooner
_RECONCILE_S = 1.0
_SIGN_OF_LIFE_S = 3.0
_PROGRESS_S = 0.5
_DESCRIBE_AGAIN_S = 10.0
_MAX_TROUBLES = 20  # of one job; then it fails


@dataclass
class _Every:
    """True once per interval."""

    interval_s: float
    last_s: float = float("-inf")

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self.last_s < self.interval_s:
            return False
        self.last_s = now
        return True


class Dispatcher:
    def __init__(
        self,
        config: Config,
        *,
        ledger: Ledger,
        catalog: Catalog,
        cache: Cache,
        cards: ModelCards,
        sources: Sources,
        hints: Hints,
    ) -> None:
        self._config, self._ledger, self._catalog, self._cache = config, ledger, catalog, cache
        self._cards, self._hints = cards, hints
        self._planner = Planner(config, catalog, ledger, cache, sources)
        self._sweeper = Sweeper(config, ledger, hints)
        self._node = f"{node_name()}:{os.getpid()}"
        self._reconcile_due = _Every(_RECONCILE_S)
        self._sweep_due = _Every(config.pipeline.sweep_s)
        self._life_due = _Every(_SIGN_OF_LIFE_S)
        self._progress_due = _Every(_PROGRESS_S)
        self._saved: dict[str, Progress] = {}
        self._described: dict[str, float] = {}
        self._turns: Counter[str] = Counter()  # at which turn each owner's last import began
        self._troubles: Counter[str] = Counter()  # errors of the open jobs

    @classmethod
    def open(cls, config: Config) -> Dispatcher:
        return cls(
            config,
            ledger=Ledger.open(config),
            catalog=Catalog.open(config.catalog_url),
            cache=Cache.open(config),
            cards=ModelCards.open(config),
            sources=Sources(config),
            hints=Hints(make_app(config)),
        )

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Whatever is away for a while, the loop goes on."""
        is_new = True
        while not stop.is_set():
            try:
                self.tick(is_new)
                is_new = self._ledger.wait_for_work(_TICK_S)
            except Exception as error:  # one job's trouble must never stop the others
                if isinstance(error, Unavailable):
                    logger.warning("waiting: %s", error)
                else:
                    logger.exception("the dispatcher's tick failed")
                stop.wait(1.0)
        with suppress(Unavailable):
            self._ledger.gone("dispatcher", self._node)

    def tick(self, is_new: bool = False) -> None:
        """One turn of every part that is due. Raises the first error when all had their turn.

        So leases that ran out come back also while the catalog is away, and jobs end while the broker is.
        """
        trouble: Exception | None = None
        for part in self._parts_due(is_new):
            try:
                part()
            except Exception as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _parts_due(self, is_new: bool) -> Iterator[Callable[[], None]]:
        if self._life_due.is_due():
            yield lambda: self._ledger.sign_of_life("dispatcher", self._node)
        if self._sweep_due.is_due():
            yield self._sweeper.sweep
        if self._reconcile_due.is_due() or is_new:
            yield self.reconcile
        yield self.admit
        if self._progress_due.is_due():
            yield self.save_progress

    # Catalog and ledger say the same of which jobs are open.

    def reconcile(self) -> None:
        # The ledger is read first: a job opened between the two reads is then in neither list, not in the wrong one.
        held = {job.id: job for job in self._ledger.jobs()}
        records = {record.id: record for record in self._catalog.open_jobs()}
        for job_id in held.keys() - records.keys():
            self._forget(job_id)
        self._troubles = Counter({job_id: self._troubles[job_id] for job_id in self._troubles.keys() & records.keys()})
        for record in records.values():
            with self._trouble_of(record.id):
                self._reconcile_one(record, held.get(record.id))

    def _reconcile_one(self, record: JobRecord, job: JobLedger | None) -> None:
        if _is_past_deadline(record):
            self._fail(record.id, deadline_exceeded(record))
        elif job is None:
            self._open(record)
        elif record.state is JobState.QUEUED:
            self._catalog.mark_running(record.id)  # the catalog went away when the job was opened
        elif job.problem is not None:
            self._fail(record.id, job.problem)
        elif self._has_changed(job.spec):
            logger.warning("%s: the model's weights changed, it starts anew", record.id)
            self._forget(record.id)
            self._open(record)

    def _has_changed(self, spec: JobSpec) -> bool:
        """Whether a model of the job is known to be another than the job was planned for."""
        cards = [(member, self._cards.get(member.model)) for member in spec.members if member.features]
        return any(card.fingerprint is not None and not member.is_planned_for(card) for member, card in cards)

    def _open(self, record: JobRecord) -> None:
        """Put a job into the ledger, as soon as its models are known."""
        if record.kind == "import":
            self._ledger.open_job(record.id, import_spec(record), 0)
            self._catalog.mark_running(record.id)
            return
        try:
            cards = [self._cards.get(model) for model in record.models]
            spec = spec_of(record, cards, self._cache.room_bytes(), self._config)
        except NotFound:
            self._fail(record.id, no_such_model(record.models, self._config))
            return
        except JobRefused as refusal:
            self._fail(record.id, refusal.problem)
            return
        if spec is None:
            for card in cards:
                if card.fingerprint is None:
                    self._describe(card.name)
            return
        if self._ledger.open_job(record.id, spec, self._total(record)):
            features = ", ".join(f for member in spec.members for f in member.features)
            logger.info("%s: opened, %s", record.id, features or "no features needed")
        self._catalog.mark_running(record.id)

    def _total(self, record: JobRecord) -> int:
        return record.unlabelled + (len(self._catalog.labelled(record.id)) if needs_labelled(record) else 0)

    @contextmanager
    def _trouble_of(self, job_id: str) -> Iterator[None]:
        """Keep one job's errors from the others: they have their turn, and the job fails if its errors go on."""
        try:
            yield
        except Unavailable:
            raise  # everybody's trouble
        except Exception:
            logger.exception("%s: the dispatcher cannot go on with it now", job_id)
            self._troubles[job_id] += 1
            if self._troubles[job_id] >= _MAX_TROUBLES:
                self._fail(job_id, internal_problem())

    def _describe(self, model: str) -> None:
        now = time.monotonic()
        if now - self._described.get(model, float("-inf")) > _DESCRIBE_AGAIN_S:
            self._described[model] = now
            self._hints.describe(model)

    def _fail(self, job_id: str, problem: Problem) -> None:
        logger.error("%s: failed, %s", job_id, problem.detail)
        self._catalog.finish(job_id, JobState.FAILED, error=problem)
        self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        self._ledger.forget(job_id)
        self._planner.forget(job_id)

    # Chunks are admitted by turns, while every stage has room.

    def admit(self) -> None:
        held = self._ledger.jobs()
        self._admit_imports([job for job in held if job.spec.imports])
        scanning = [job for job in held if job.state == "planning" and not job.spec.imports]
        jobs = [job for job in _first_of_each_pool(scanning) if not job.planned]
        room = self._room() if jobs else 0
        while jobs and room > 0:
            job = jobs.pop(0)
            with self._trouble_of(job.id):
                job, units = self._planner.next_chunk(job)
                for unit in units:
                    self._hints.send(unit, unit.stage)
                if not job.planned:
                    jobs.append(job)
            room -= 1

    def _admit_imports(self, imports: list[JobLedger]) -> None:
        """Open the units of as many as may run at once: they take long, and selections share their workers."""
        pool = self._config.workers.selection
        room = max(1, max(1, pool.processes) * pool.concurrency - 1)
        running = Counter(job.spec.owner for job in imports if job.state != "planning")
        waiting = [job for job in imports if job.state == "planning"]
        while waiting and running.total() < room:
            # The owners take turns; of one owner's, the oldest.
            job = min(waiting, key=lambda job: (running[job.spec.owner], self._turns[job.spec.owner], job.opened))
            waiting.remove(job)
            running[job.spec.owner] += 1
            self._turns[job.spec.owner] = max(self._turns.values(), default=0) + 1
            _, units = self._ledger.admit(job, 0, True, [], 0)
            for unit in units:
                self._hints.send(unit, unit.stage)

    def _room(self) -> int:
        """How many chunks may be admitted now: none while a stage has a full window waiting, or bytes run out."""
        units, held = self._ledger.open_units()
        waiting = {stage: 0 for stage in Stage}
        for unit in units:
            if unit not in held:
                waiting[unit.stage] += 1
        room = self._config.pipeline.window - max(waiting[stage] for stage in SCAN_STAGES)
        in_flight = [unit for unit in units if unit.stage is not Stage.SELECTION]
        metrics = self._ledger.metrics()
        per_chunk = max(1.0, metrics.bytes_per_chunk)
        unknown = sum(1 for unit in in_flight if unit.stage is Stage.DOWNLOAD) * per_chunk
        free = self._config.pipeline.in_flight_bytes - metrics.bytes_in_flight - unknown
        by_bytes = int(free / per_chunk) if metrics.bytes_per_chunk else room
        return max(min(room, by_bytes), 0 if in_flight else 1)

    def save_progress(self) -> None:
        """Into the catalog, where the API reads it: a ledger that is wiped in mid-job starts again from nothing."""
        saved: dict[str, Progress] = {}
        for job in self._ledger.jobs():
            progress = None if job.spec.imports else self._ledger.progress(job.id)
            if progress is not None:
                if progress != self._saved.get(job.id):
                    self._catalog.save_progress(job.id, progress)
                saved[job.id] = progress
        self._saved = saved


def _first_of_each_pool(jobs: list[JobLedger]) -> list[JobLedger]:
    """Of jobs over the same pool and model one at a time is scanned: the next finds its features in the cache."""
    first: dict[tuple[str, ...], str] = {}
    for job in sorted(jobs, key=lambda job: job.opened):
        # A job that needs no features scans nothing, and waits for nobody.
        own = "" if job.spec.reads_samples else job.id
        models = tuple(member.model for member in job.spec.members)
        first.setdefault((job.spec.owner, job.spec.dataset_id, own, *models), job.id)
    return [job for job in jobs if job.id in first.values()]


def _is_past_deadline(record: JobRecord) -> bool:
    if record.deadline_s is None:
        return False
    return (datetime.now(UTC) - record.created).total_seconds() > record.deadline_s


def main() -> None:
    set_up_logs("dispatcher")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    dispatcher = None
    config = load_config()
    load_zoo(config)
    while dispatcher is None and not stop.is_set():
        try:
            dispatcher = Dispatcher.open(config)
        except Unavailable as error:
            logger.warning("waiting: %s", error)
            stop.wait(1.0)
    if dispatcher is not None:
        logger.info("dispatcher ready")
        dispatcher.run(stop)


if __name__ == "__main__":
    main()
