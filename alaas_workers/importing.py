"""An import: what a prefix or a manifest lists, into its dataset. The selection workers run it, under a lease.

It may be done again from the start at any moment, by another worker: the dataset, and the report, are then the same as
if it had been done once.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from alaas.config import Config
from alaas.errors import InvalidRequest, SampleCode, SampleError
from alaas.jobs import Imported, JobState, Listing, Problem, Progress, Report, SkippedRow
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.catalog.samples import BATCH
from alaas_workers.listed import DETAILS, Listings, Row
from alaas_workers.memory import bounded_memory
from alaas_workers.pipeline import patiently
from alaas_workers.sources.retry import retry_delay_s

logger = logging.getLogger(__name__)
FLUSH_S = 2.0  # the longest that rows wait for their batch to fill, so that progress shows
MAX_EXAMPLES = 20
SHOWN = 200  # characters of a skipped row
MEMORY_BYTES = 2 * 1024**3  # beside what the worker holds: a manifest that unpacks to more is refused
_CREDENTIALS = re.compile(r"//[^/?#]*@")  # of a URI; a report is kept
_CANNOT = {
    SampleCode.UNKNOWN_SCHEME: "no source of this server serves its scheme, or the one that does cannot list",
    SampleCode.NOT_FOUND: "there is nothing at this URI; a prefix ends in /",
    SampleCode.TOO_LARGE: "the manifest has more bytes than sources.max_manifest_bytes",
    SampleCode.EMPTY: "the manifest is empty",
}


class _HasEnded(Exception):
    """The job was cancelled, or another worker finished it."""


class _TooLate(Exception):
    """The import took longer than it may."""


class Import:
    """The work of one process."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config, self._catalog = config, catalog
        # Arrow's own allocators end the process where the system's gives a MemoryError. It is not loaded yet.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        self._timeout_s = config.sources.import_timeout_s
        self._listings = Listings(config)

    def run(self, record: JobRecord, progress: Callable[[], None], moved_on: Callable[[], object]) -> None:
        """Import, and write the job's end down. Raises what `progress` raises, and Unavailable.

        `moved_on` is called when more was imported than by any worker before.
        """
        listing = Listing.model_validate(record.listing)
        try:
            tally = self._patiently_imported(record, listing, self._until_late(progress), moved_on)
        except _HasEnded:
            return
        except _TooLate:
            self._catalog.finish(record.id, JobState.FAILED, error=_took_too_long(self._timeout_s))
            return
        except (SampleError, InvalidRequest) as error:
            self._catalog.finish(record.id, JobState.FAILED, error=_problem(error))
            return
        except MemoryError:
            self._catalog.finish(record.id, JobState.FAILED, error=_too_much_memory())
            return
        if not tally.received:
            self._catalog.finish(record.id, JobState.FAILED, error=_nothing_found(listing))
            return
        report = _report(record, tally.imported(listing.uri), tally.samples)
        self._catalog.finish(record.id, JobState.SUCCEEDED, report=report, repeated=tally.repeated)

    def _until_late(self, progress: Callable[[], None]) -> Callable[[], None]:
        """A listing without end, or a host that gives it drop by drop, must not hold its place for ever."""
        deadline_s = time.monotonic() + self._timeout_s

        def checked() -> None:
            if time.monotonic() > deadline_s:
                raise _TooLate
            progress()

        return checked

    def _patiently_imported(
        self, record: JobRecord, listing: Listing, progress: Callable[[], None], moved_on: Callable[[], object]
    ) -> Tally:
        """Tried as often as a sample, while its errors may pass; each try begins at the start."""
        for attempt in count(1):
            try:
                with bounded_memory(MEMORY_BYTES):
                    return self._imported(record, listing, progress, moved_on)
            except SampleError as error:
                delay_s = retry_delay_s(error, attempt, self._config.sources)
                if delay_s is None:
                    raise
                progress()
                time.sleep(delay_s)
        raise AssertionError("itertools.count ended")

    def _imported(
        self, record: JobRecord, listing: Listing, progress: Callable[[], None], moved_on: Callable[[], object]
    ) -> Tally:
        tally = Tally(record.pool_size)
        modality = self._catalog.get_dataset(record.owner, record.dataset_id).modality
        for batch in batched(self._listings.rows(listing, record.owner, modality, progress)):
            progress()
            samples = [row.sample for row in batch if row.sample is not None]
            add = partial(self._catalog.import_batch, record.id, samples, self._config.api.max_pool)
            ordinals = patiently(add, self._config.pipeline.lease_s)
            if ordinals is None:
                raise _HasEnded
            tally.add(batch, ordinals)
            reached = Progress(total=tally.received, failed=tally.skipped.total())
            self._catalog.save_progress(record.id, reached)
            if tally.received > record.progress.total:
                moved_on()
        return tally


@dataclass
class Tally:
    """Counts an import's rows so that a second try counts the same: by what the dataset held when it was submitted."""

    pool_size: int  # ordinals below it were there before
    received: int = 0
    added: int = 0
    repeated: int = 0
    labelled: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[SkippedRow] = field(default_factory=list)
    _met: _Ordinals = field(default_factory=lambda: _Ordinals())
    _with_label: _Ordinals = field(default_factory=lambda: _Ordinals())

    def add(self, rows: Iterable[Row], ordinals: Iterable[int]) -> None:
        """`ordinals`: of the rows that are samples, in order."""
        places = iter(ordinals)
        for row in rows:
            self.received += 1
            if row.sample is None:
                self._skip(row)
                continue
            ordinal = next(places)
            is_first, is_new = self._met.add(ordinal), ordinal >= self.pool_size
            self.added += is_first and is_new
            self.repeated += is_new and not is_first
            self.labelled += row.sample.label is not None and self._with_label.add(ordinal)

    def _skip(self, row: Row) -> None:
        self.skipped[row.code] += 1
        if len(self.examples) < MAX_EXAMPLES:
            shown = _CREDENTIALS.sub("//...@", row.value)[:SHOWN].encode(errors="backslashreplace").decode()
            self.examples.append(SkippedRow(row=row.number, code=row.code, detail=DETAILS[row.code], value=shown))

    @property
    def samples(self) -> int:
        """Distinct ones of the listing."""
        return self._met.count

    def imported(self, uri: str) -> Imported:
        return Imported(
            uri=uri,
            received=self.received,
            added=self.added,
            duplicates=self.received - self.added - self.skipped.total(),
            labelled=self.labelled,
            skipped=dict(sorted(self.skipped.items())),
            examples=self.examples,
        )


class _Ordinals:
    """A set of them, a bit each."""

    def __init__(self) -> None:
        self.count = 0
        self._bits = bytearray()

    def add(self, ordinal: int) -> bool:
        """True the first time."""
        byte, bit = ordinal >> 3, 1 << (ordinal & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 4096 - len(self._bits)))
        is_first = not self._bits[byte] & bit
        self._bits[byte] |= bit
        self.count += is_first
        return is_first


def batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Batches of at most BATCH rows; a slow listing gives smaller ones."""
    batch: list[Row] = []
    started = time.monotonic()
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH or time.monotonic() - started > FLUSH_S:
            yield batch
            batch, started = [], time.monotonic()
    if batch:
        yield batch


def _report(record: JobRecord, imported: Imported, pool: int) -> Report:
    return Report(
        kind=record.kind, model="", fingerprint="", strategy=None, budget=None, seed=record.seed, pool=pool,
        duplicates=imported.duplicates, selected=[], failed=[], imported=imported,
    )  # fmt: skip


def _problem(error: SampleError | InvalidRequest) -> Problem:
    if isinstance(error, SampleError):
        detail = _CANNOT.get(error.sample_code, error.detail)
        return _listing_problem(str(error.sample_code), detail)
    detail = error.detail.encode(errors="backslashreplace").decode()  # it may name columns as the manifest does
    return Problem(title=error.title, status=422, code=error.code, detail=detail, field=error.field)


def _nothing_found(listing: Listing) -> Problem:
    what = "no file lies beneath this prefix" if listing.is_prefix else "the manifest has no rows"
    return _listing_problem("not_found", what)


def _took_too_long(timeout_s: float) -> Problem:
    detail = f"the import took longer than {timeout_s:g} s (sources.import_timeout_s); what was added stays"
    return Problem(title="The import took too long", status=504, code="import_timeout", detail=detail)


def _too_much_memory() -> Problem:
    return _listing_problem("too_large", "the manifest unpacks to more memory than an import may take")


def _listing_problem(code: str, detail: str) -> Problem:
    return Problem(title="The listing cannot be read", status=422, code=code, detail=detail, field="listing.uri")
