"""Planning: which samples of a job lack features, as chunks, a window at a time, however large the pool."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from alaas.config import Config
from alaas_workers.cache import Cache
from alaas_workers.catalog import Catalog, PoolSample
from alaas_workers.gathering import PAGE, present
from alaas_workers.ledger import ChunkSample, JobLedger, Ledger, Unit
from alaas_workers.sources import Sources
from alaas_workers.wanted import needs_labelled

logger = logging.getLogger(__name__)
_LABELLED = 2**48  # cursors from here on walk the labelled samples, which come after the pool
_PAGES_PER_TURN = 16  # of a pool whose features are there already, so that one job does not hold up the others


class _Ahead(NamedTuple):
    cursor: int
    sample: PoolSample
    is_missing: bool


@dataclass
class _LookAhead:
    """Samples of one job that were read but not admitted yet. Dropped when another dispatcher moved the cursor."""

    job: tuple[int, int]  # the turn at which the job was opened, and its round
    cursor: int  # where admission stands; must equal the ledger's
    read_to: int  # the last cursor that was read
    is_exhausted: bool = False
    ahead: deque[_Ahead] = field(default_factory=deque)
    skipped: frozenset[int] = frozenset()
    labelled: list[PoolSample] | None = None  # read once


class Planner:
    """One per dispatcher. Its state is only a look-ahead: losing it costs a read."""

    def __init__(self, config: Config, catalog: Catalog, ledger: Ledger, cache: Cache, sources: Sources) -> None:
        self._chunk_size = config.pipeline.chunk_size
        self._catalog, self._ledger, self._cache, self._sources = catalog, ledger, cache, sources
        self._looks: dict[str, _LookAhead] = {}
        self._wants_labelled: dict[str, bool] = {}

    def next_chunk(self, job: JobLedger) -> tuple[JobLedger, list[Unit]]:
        """Admit the job's next chunk. Returns the job as it then is, and the units to hint."""
        look = self._look(job)
        missing, cached, cursor = self._walk(job, look)
        planned = look.is_exhausted and not look.ahead
        chunk = [ChunkSample(sample.ordinal, sample.uri, sample.version) for sample in missing]
        admitted, units = self._ledger.admit(job, cursor, planned, chunk, cached)
        if not admitted:
            return replace(job, planned=True), []  # as it now is, is read at the next tick
        if planned:
            self.forget(job.id)
        else:
            look.cursor = cursor
            self._looks[job.id] = look
        return replace(job, cursor=cursor, planned=planned), units

    def forget(self, job_id: str) -> None:
        self._looks.pop(job_id, None)
        self._wants_labelled.pop(job_id, None)

    def _look(self, job: JobLedger) -> _LookAhead:
        # Taken out, and put back when what was taken from it is admitted: an error in between must skip no sample.
        look = self._looks.pop(job.id, None)
        identity = (job.opened, job.round)
        if look is None or (look.job, look.cursor) != (identity, job.cursor):
            # In a later round, what failed before is not tried again.
            skipped = frozenset(self._ledger.failures(job.id)) if job.round else frozenset()
            look = _LookAhead(identity, job.cursor, job.cursor, skipped=skipped)
        return look

    def _walk(self, job: JobLedger, look: _LookAhead) -> tuple[list[PoolSample], int, int]:
        """Take samples up to a full chunk. Returns those that lack features, how many had them, and the new cursor."""
        missing: list[PoolSample] = []
        cached, cursor, pages = 0, look.cursor, 0
        while len(missing) < self._chunk_size:
            if not look.ahead:
                if look.is_exhausted or pages == _PAGES_PER_TURN:
                    break
                self._read(job, look)
                pages += 1
                continue
            item = look.ahead.popleft()
            cursor = item.cursor
            if item.is_missing:
                missing.append(item.sample)
            else:
                cached += 1
        if not look.ahead and not look.is_exhausted and len(missing) == self._chunk_size:
            self._read(job, look)  # so that the last chunk is known to be the last
        return missing, cached, cursor

    def _read(self, job: JobLedger, look: _LookAhead) -> None:
        """Read one page of the pool, then of the labelled samples if the strategy looks at them."""
        base = 0
        page = self._catalog.pool(job.id, after=look.read_to, limit=PAGE) if look.read_to < _LABELLED else []
        if not page and self._needs_labelled(job):
            base = _LABELLED
            after = look.read_to - _LABELLED if look.read_to >= _LABELLED else -1
            if look.labelled is None:
                look.labelled = self._catalog.labelled(job.id)
            start = bisect_right(look.labelled, after, key=lambda sample: sample.ordinal)
            page = look.labelled[start : start + PAGE]
        if not page:
            look.is_exhausted = True
            return
        page = self._with_versions(job, page)
        there = present(self._cache, job.spec, page)
        look.ahead.extend(
            _Ahead(base + sample.ordinal, sample, not is_there and sample.ordinal not in look.skipped)
            for sample, is_there in zip(page, there.tolist(), strict=True)
        )
        look.read_to = base + page[-1].ordinal

    def _needs_labelled(self, job: JobLedger) -> bool:
        if job.id not in self._wants_labelled:
            self._wants_labelled[job.id] = needs_labelled(self._catalog.get_job(job.id))
        return self._wants_labelled[job.id]

    def _with_versions(self, job: JobLedger, page: list[PoolSample]) -> list[PoolSample]:
        """The page with each sample's version as it is now; the catalog learns what changed."""
        if not job.spec.reads_samples:
            return page
        version, owner = self._sources.version, job.spec.owner
        now = [sample._replace(version=version(sample.uri, owner, sample.version)) for sample in page]
        changed = {new.ordinal: new.version for new, old in zip(now, page, strict=True) if new.version != old.version}
        if changed:
            self._catalog.set_versions(job.spec.dataset_id, changed)
        return now
