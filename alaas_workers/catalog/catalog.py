"""`Catalog`: everything that outlives Redis (datasets, samples, labels, jobs, reports), behind one class.

The API, the dispatcher and the selection workers each open one; the stages in between never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import select

from alaas.jobs import Dataset, JobRequest, JobState, Problem, Progress, Report, Sample, SamplesAdded
from alaas_workers.catalog import (
    answers,
    datasets,
    importing,
    jobs,
    labelling,
    outcome,
    pool,
    samples,
    submission,
    tables,
)
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.importing import ListedSample
from alaas_workers.catalog.migrate import migrate
from alaas_workers.catalog.records import JobRecord, PoolSample


class Catalog:
    """Thread-safe; one per process, opened after a fork.

    Every method raises Unavailable, within about 3 s, when the database cannot be reached or stays locked; and
    InvalidRequest for text that holds a NUL or a lone surrogate. What has an owner answers another one NotFound.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, make what is missing (SQLite's folder and file, the schema), and return the catalog.

        ConfigError for a URL that is none, or a catalog that a newer release made.
        """
        database = Database(url)
        try:
            migrate(database)
            submission.discard_abandoned(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Return when the catalog answers."""
        with self._database.read() as connection:
            connection.execute(select(tables.datasets.c.number).limit(1)).all()

    # Datasets

    def create_dataset(
        self, owner: str, name: str, modality: str = "vision", tags: Mapping[str, str] | None = None
    ) -> tuple[Dataset, bool]:
        """The owner's dataset of that name, and whether it is new. Tags are added to those of an existing one.

        Conflict when it exists with another modality.
        """
        return datasets.create(self._database, owner, name, modality, tags or {})

    def get_dataset(self, owner: str, dataset_id: str) -> Dataset:
        with self._database.read() as connection:
            return datasets.to_dataset(datasets.find(connection, owner, dataset_id))

    def list_datasets(
        self, owner: str, after: str | None = None, limit: int = 100, name: str | None = None
    ) -> tuple[list[Dataset], str | None]:
        """A page, oldest first, and the cursor of the next one; InvalidRequest for a cursor that is none."""
        with self._database.read() as connection:
            return datasets.page(connection, owner, after, limit, name)

    # Samples and labels

    def add_samples(self, owner: str, dataset_id: str, uris: Iterable[str], max_pool: int) -> SamplesAdded:
        """Add the URIs that the dataset lacks, in their order; streamed, in constant memory.

        Committed in batches: when `uris` raises, or TooLarge says that the dataset would pass `max_pool`, earlier
        batches stay, and the same call again adds the rest.
        """
        return samples.add(self._database, owner, dataset_id, uris, max_pool)

    def import_batch(self, job_id: str, rows: Sequence[ListedSample], max_pool: int) -> list[int] | None:
        """Add the samples of an import that its dataset lacks, with versions and labels, in one transaction.

        The ordinal of each, in order. None, and nothing is added, when the job has ended. TooLarge: as `add_samples`.
        Done twice it has the effect of once.
        """
        return importing.add_batch(self._database, job_id, rows, max_pool)

    def list_samples(
        self, owner: str, dataset_id: str, after: str | None = None, limit: int = 100, labelled: bool | None = None
    ) -> tuple[list[Sample], str | None]:
        """A page in the order of adding, and the next cursor. `labelled`: only those with a label, or without."""
        with self._database.read() as connection:
            return samples.page(connection, owner, dataset_id, after, limit, labelled)

    def add_labels(self, owner: str, dataset_id: str, labels: Mapping[str, str]) -> int:
        """Label samples by id or URI, all or none; an earlier label is replaced. Returns how many samples.

        NotFound names the first sample that the dataset lacks.
        """
        return labelling.add(self._database, owner, dataset_id, labels)

    def set_versions(self, dataset_id: str, versions: Mapping[int, str]) -> None:
        """Remember, by ordinal, what the source said of each sample; `pool` gives it back."""
        samples.set_versions(self._database, dataset_id, versions)

    # Jobs

    def create_job(
        self,
        owner: str,
        request: JobRequest,
        *,
        model: str | list[str],
        strategy: dict[str, Any] | None,
        max_active: int,
        policy: dict[str, Any] | None = None,
        modality: str = "vision",
        idempotency_key: str | None = None,
        request_digest: str | None = None,
    ) -> tuple[JobRecord, bool]:
        """Accept a job and bind the snapshot of its pool; the record, and whether it is new.

        `modality`: of a request's list of URIs. An import has no model ("") and no strategy.

        The same owner and key give the job of the first call, or Conflict when the digest differs. InvalidRequest:
        an empty pool, a budget above it. NotFound: the dataset. TooManyRequests: `max_active` jobs are unfinished.
        """
        job = submission.Submission(
            owner, request, model, strategy, max_active, idempotency_key, request_digest, policy, modality
        )
        return submission.submit(self._database, job)

    def get_job(self, job_id: str, owner: str | None = None) -> JobRecord:
        with self._database.read() as connection:
            return jobs.get(connection, job_id, owner)

    def list_jobs(
        self, owner: str, after: str | None = None, limit: int = 100, state: JobState | None = None
    ) -> tuple[list[JobRecord], str | None]:
        """A page, newest first, and the cursor of the next one."""
        with self._database.read() as connection:
            return jobs.page(connection, owner, after, limit, state)

    def open_jobs(self) -> list[JobRecord]:
        """The jobs of all owners that have not ended, oldest first."""
        with self._database.read() as connection:
            return jobs.unfinished(connection)

    def job_states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._database.read() as connection:
            return jobs.states(connection)

    def mark_running(self, job_id: str) -> bool:
        """From queued to running; True for the call that did it."""
        return outcome.mark_running(self._database, job_id)

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        report: Report | None = None,
        error: Problem | None = None,
        repeated: int = 0,
    ) -> bool:
        """The only writer of terminal states; True for the one call that wins. `succeeded` comes with its report.

        `repeated`: samples that an import met more than once; its dataset counts them as duplicates.
        """
        return outcome.finish(self._database, job_id, state, report, error, repeated)

    def save_progress(self, job_id: str, progress: Progress) -> None:
        """Keep the element-wise maximum, so that it never goes back."""
        outcome.save_progress(self._database, job_id, progress)

    def report(self, job_id: str, owner: str | None = None) -> bytes:
        """The report as canonical JSON (fields in the model's order, compact), byte for byte as it was finished."""
        with self._database.read() as connection:
            return outcome.report(connection, job_id, owner)

    # The pool of a job: what was unlabelled when it was accepted, whatever came after

    def pool(self, job_id: str, after: int = -1, limit: int = 4096) -> list[PoolSample]:
        """The next samples with an ordinal above `after`, by ordinal; an empty list at the end."""
        with self._database.read() as connection:
            return pool.page(connection, job_id, after, limit)

    def labelled(self, job_id: str) -> list[PoolSample]:
        """The samples that had a label when the job was accepted, by ordinal, each with its label as it is now."""
        with self._database.read() as connection:
            return pool.labelled(connection, job_id)

    # Answers to repeated requests

    def remember(self, owner: str, key: str, digest: str) -> tuple[int, bytes] | None:
        """What a request with this key was answered (status, body); Conflict when it was another request."""
        with self._database.read() as connection:
            return answers.recall(connection, owner, key, digest)

    def memorise(self, owner: str, key: str, digest: str, status: int, body: bytes) -> None:
        """Keep an answer for `remember`; the first one stays."""
        answers.store(self._database, owner, key, digest, status, body)
