"""Selection: features of the whole pool to a report. Opened by the commit of the job's last chunk.

Deterministic, so that doing it again gives the same report; only one commit is published (the catalog compares).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from alaas.config import Config
from alaas.errors import SampleCode
from alaas.jobs import FailedSample, JobState, Problem, Report
from alaas_workers.cache import Cache
from alaas_workers.catalog import Catalog, JobRecord, PoolSample
from alaas_workers.choosing import Choice, choice_of, looked_at, strategy_refused
from alaas_workers.gathering import Gathered, gather, labelled_arrays, pool_pages
from alaas_workers.heart import LeaseLost
from alaas_workers.importing import Import
from alaas_workers.ledger import FailedAt, JobSpec, Lease, Ledger
from alaas_workers.model_cards import ModelCards
from alaas_workers.own_strategies import register_own
from alaas_workers.pipeline import Made, NotNow
from alaas_workers.wanted import needs_labelled
from strategies import Pool, StrategyError, strategy_names

logger = logging.getLogger(__name__)


def load_zoo(config: Config) -> None:
    """Import every strategy, and SciPy with it: before a pool forks, and not in the first job. Raises ConfigError."""
    register_own(config)
    strategy_names()


class Selection:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._max_rounds = config.pipeline.max_rounds
        self._catalog = Catalog.open(config.catalog_url)
        self._cache = Cache.open(config)
        self._ledger = Ledger.open(config)
        self._cards = ModelCards.open(config)
        self._import: Import | None = None  # made at the first one

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made | None:
        record = self._catalog.get_job(lease.unit.job)
        if record.state.is_terminal:
            return Made(b"", 0, [])  # committed by one that died before it could say so
        if record.kind == "import":
            self._imports().run(record, progress, lambda: self._ledger.forgive(lease))
            return Made(b"", 0, [])
        gathered, labelled = self._gather(lease, record, progress)
        failures = self._ledger.failures(record.id)
        if not self._ledger.beat(lease):
            raise LeaseLost("another has the selection")  # and what was read may be of another round, or of none
        if self._must_scan_again(lease, gathered, labelled, failures):
            self._ledger.replan(lease)  # without effect when another holds the selection by now: then it decides
            return None
        progress()
        self._commit(record, lease, gathered, labelled, failures)
        return Made(b"", 0, [])

    def _imports(self) -> Import:
        if self._import is None:
            self._import = Import(self._config, self._catalog)
        return self._import

    def _gather(self, lease: Lease, record: JobRecord, progress: Callable[[], None]) -> tuple[Gathered, Gathered]:
        cards = [self._cards.get(model) for model in record.models]
        if not all(map(JobSpec.is_planned_for, lease.spec.members, cards)):
            raise NotNow("the model changed; the dispatcher plans the job anew")
        samples: list[PoolSample] = []
        for page in pool_pages(self._catalog, record.id):
            progress()
            samples += page
        labelled = self._catalog.labelled(record.id) if needs_labelled(record) else []
        pool = gather(self._cache, lease.spec, cards, samples)
        progress()
        return pool, gather(self._cache, lease.spec, cards, labelled)

    def _must_scan_again(
        self, lease: Lease, gathered: Gathered, labelled: Gathered, failures: dict[int, FailedAt]
    ) -> bool:
        vanished = sum(
            1
            for part in (gathered, labelled)
            for sample, is_there in zip(part.samples, part.there, strict=True)
            if not is_there and sample.ordinal not in failures
        )
        job = self._ledger.job(lease.unit.job)
        if vanished and job is not None and job.round + 1 < self._max_rounds:
            logger.warning("%s: features of %d samples are gone, scanning them again", lease.unit.job, vanished)
            return True
        return False

    def _commit(
        self,
        record: JobRecord,
        lease: Lease,
        gathered: Gathered,
        labelled: Gathered,
        failures: dict[int, FailedAt],
    ) -> None:
        if (reached := self._ledger.progress(record.id)) is not None:
            self._catalog.save_progress(record.id, reached)
        failed = _failed_samples(gathered, failures)
        if gathered.samples and len(failed) == len(gathered.samples):
            self._catalog.finish(record.id, JobState.FAILED, error=_nothing_to_select(failed))
            return
        try:
            choice = Choice([], []) if record.kind == "scan" else choose(record, gathered, labelled)
        except StrategyError as error:
            problem = strategy_refused(error, record)
            self._catalog.finish(record.id, JobState.FAILED, error=problem)
            return
        report = Report(
            kind=record.kind,
            model=record.model,
            fingerprint=_fingerprints(lease.spec),
            strategy=record.strategy,
            policy=record.policy,
            budget=record.budget,
            seed=record.seed,
            pool=len(gathered.samples),
            duplicates=record.duplicates,
            selected=choice.chosen,
            failed=failed,
            warnings=_warnings(record, choice, len(gathered.samples), failed),
        )
        self._catalog.finish(record.id, JobState.SUCCEEDED, report=report)


def choose(record: JobRecord, gathered: Gathered, labelled: Gathered) -> Choice:
    """Run the job's strategy over the samples that have their features. Raises StrategyError."""
    samples, features = gathered.complete()
    arrays = features | labelled_arrays(labelled, looked_at(record))
    pool = Pool(ids=[sample.id for sample in samples], features=arrays, seed=record.seed)
    return choice_of(record, pool, samples, labelled.complete()[0])


def _fingerprints(spec: JobSpec) -> str | list[str]:
    """As the job names its models: one, or a list for a committee."""
    return [member.fingerprint for member in spec.members] if spec.others else spec.fingerprint


def _failed_samples(gathered: Gathered, failures: dict[int, FailedAt]) -> list[FailedSample]:
    failed = []
    for place in np.flatnonzero(~gathered.there).tolist():
        sample = gathered.samples[place]
        reason = failures.get(sample.ordinal) or FailedAt(sample.ordinal, SampleCode.UNSTABLE, "")
        failed.append(FailedSample(id=sample.id, uri=sample.uri, code=reason.code, detail=reason.detail))
    return failed


def _nothing_to_select(failed: list[FailedSample]) -> Problem:
    counts: dict[str, int] = {}
    for sample in failed:
        counts[sample.code] = counts.get(sample.code, 0) + 1
    reasons = ", ".join(f"{count} {code}" for code, count in sorted(counts.items(), key=lambda item: -item[1]))
    return Problem(
        title="Nothing can be selected",
        status=422,
        code="nothing_to_select",
        detail=f"each of the {len(failed)} samples failed: {reasons}",
    )


def _warnings(record: JobRecord, choice: Choice, pool: int, failed: list[FailedSample]) -> list[str]:
    budget, usable = record.budget or 0, pool - len(failed)
    few = [f"{len(choice.chosen)} samples chosen instead of {budget}: {len(failed)} of the pool failed"]
    return [*(few if usable < budget else []), *choice.warnings]
