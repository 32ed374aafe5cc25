"""Accept a job: check it against its dataset and its owner's limits, and bind the snapshot of its pool."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, Row, delete, func, insert, select, update

from alaas.errors import Conflict, InvalidRequest, TooManyRequests, Unavailable
from alaas.jobs import JobRequest, JobState, Progress
from alaas_workers.catalog import samples as samples_of
from alaas_workers.catalog.answers import check_key
from alaas_workers.catalog.datasets import find, insert_dataset
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.jobs import OPEN, select_jobs
from alaas_workers.catalog.records import JobRecord, to_record
from alaas_workers.catalog.tables import datasets, jobs, samples
from alaas_workers.catalog.texts import as_json, check_text

logger = logging.getLogger(__name__)
ABANDONED = timedelta(days=1)


@dataclass(frozen=True)
class Submission:
    """A request with what the API resolved: the models' names, the whole strategy, the caller and the limits."""

    owner: str
    request: JobRequest
    model: str | list[str]
    strategy: Mapping[str, Any] | None
    max_active: int
    key: str | None
    digest: str | None
    policy: Mapping[str, Any] | None = None
    modality: str = "vision"  # of a list of URIs

    @property
    def models(self) -> list[str]:
        return [self.model] if isinstance(self.model, str) else self.model

    @property
    def is_import(self) -> bool:
        return self.request.kind == "import"

    def check(self) -> None:
        """What can be judged without the database."""
        check_text(self.owner, "owner")
        for model in self.models if not self.is_import else []:
            check_text(model, "model")
        check_key(self.key)
        if (self.request.dataset_id is None) == (self.request.uris is None):
            raise InvalidRequest("give either dataset_id or uris", field="dataset_id")
        if self.request.kind == "query" and self.request.budget is None:
            raise InvalidRequest("a query needs a budget", field="budget")
        if self.request.uris is not None:
            self.check_pool(len(set(self.request.uris)))

    def check_pool(self, samples: int, labelled: int = 0) -> None:
        if self.is_import:
            return
        unlabelled = samples - labelled
        # A scan may find all labelled, as in a pool that is begun with what one has; then it has nothing to do.
        if unlabelled == 0 and (samples == 0 or self.request.kind != "scan"):
            field = "dataset_id" if self.request.uris is None else "uris"
            raise InvalidRequest("there is no unlabelled sample to choose from", field=field)
        if (self.request.budget or 0) > unlabelled:
            detail = f"{self.request.budget} is more than the {unlabelled} unlabelled samples of the pool"
            raise InvalidRequest(detail, field="budget")


def submit(database: Database, job: Submission) -> tuple[JobRecord, bool]:
    """The job and whether it is new; see `Catalog.create_job`.

    A list of URIs goes first into a nameless dataset, in short transactions; only the last one makes a job of it.
    """
    job.check()
    if job.request.uris is None:
        return _accept(database, job, job.request.dataset_id or "")
    with database.read() as connection:  # before the work of storing the list
        if (existing := _known(connection, job)) is not None:
            return existing, False
        _check_limit(connection, job)
    dataset_id = _store_uris(database, job.owner, job.request.uris, job.modality)
    try:
        record, created = _accept(database, job, dataset_id)
    except Unavailable:
        raise  # it may have been accepted, and only the answer lost: `discard_abandoned` will know
    except BaseException:
        _discard(database, dataset_id)
        raise
    if not created:
        _discard(database, dataset_id)
    return record, created


def _accept(database: Database, job: Submission, dataset_id: str) -> tuple[JobRecord, bool]:
    with database.write() as connection:
        database.hold(connection, f"owner {job.owner}")  # so that keys and limits hold for calls at the same time
        if (existing := _known(connection, job)) is not None:
            return existing, False
        _check_limit(connection, job)
        # No lock is needed: the row's numbers change in the transactions that add samples and labels, one by one.
        dataset = find(connection, job.owner, dataset_id)
        job.check_pool(dataset.samples, dataset.labelled)
        values = _row(job, dataset)
        connection.execute(insert(jobs).values(values))
        return to_record(connection.execute(select_jobs().where(jobs.c.id == values["id"])).one()), True


def _row(job: Submission, dataset: Row[Any]) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(16),
        "owner": job.owner,
        "kind": job.request.kind,
        "state": JobState.QUEUED,
        "dataset": dataset.number,
        "model": job.models[0],
        "committee": None if isinstance(job.model, str) else json.dumps(job.model),
        "strategy": None if job.strategy is None else as_json(job.strategy, "strategy"),
        "policy": None if job.policy is None else as_json(job.policy, "policy"),
        "listing": job.request.listing.model_dump_json() if job.is_import and job.request.listing else None,
        "budget": job.request.budget,
        "seed": job.request.seed,
        "deadline_s": job.request.deadline_s,
        "created": datetime.now(UTC),
        "progress": Progress().model_dump_json(),
        "pool_size": dataset.samples,
        "label_events": dataset.label_events,
        "unlabelled": dataset.samples - dataset.labelled,
        "duplicates": dataset.duplicates,
        "idempotency_key": job.key,
        "request_digest": job.digest,
    }


def _known(connection: Connection, job: Submission) -> JobRecord | None:
    """The job that this owner's key made before; Conflict when it was for another request."""
    if job.key is None:
        return None
    statement = select_jobs().where(jobs.c.owner == job.owner, jobs.c.idempotency_key == job.key)
    row = connection.execute(statement).one_or_none()
    if row is not None and row.request_digest != job.digest:
        raise Conflict("This Idempotency-Key was used for another request.", field="Idempotency-Key")
    return None if row is None else to_record(row)


def _check_limit(connection: Connection, job: Submission) -> None:
    mine = select(func.count()).select_from(jobs).where(jobs.c.owner == job.owner, jobs.c.state.in_(OPEN))
    if connection.execute(mine).scalar_one() >= job.max_active:
        raise TooManyRequests(f"{job.max_active} jobs of yours are not finished; wait for one or cancel one.")


def _store_uris(database: Database, owner: str, uris: list[str], modality: str) -> str:
    with database.write() as connection:
        dataset_id: str = insert_dataset(connection, owner, None, modality, {}).id
    try:
        samples_of.add(database, owner, dataset_id, uris, max_pool=len(uris))
    except BaseException:
        _discard(database, dataset_id)
        raise
    return dataset_id


def _discard(database: Database, dataset_id: str) -> None:
    """Remove a nameless dataset that no job came of, a batch at a time."""
    while _discard_batch(database, dataset_id):
        pass


def _discard_batch(database: Database, dataset_id: str) -> bool:
    """Remove the last batch of samples, or the empty dataset; False when there is nothing left to remove."""
    with database.write() as connection:
        dataset = connection.execute(
            select(datasets).where(datasets.c.id == dataset_id).with_for_update()
        ).one_or_none()
        if dataset is None or connection.execute(select(_has_job(dataset.number))).scalar_one():
            return False
        this = datasets.c.number == dataset.number
        if dataset.samples == 0:
            connection.execute(delete(datasets).where(this))
            return False
        kept = max(0, dataset.samples - samples_of.BATCH)
        rest = samples.c.ordinal >= kept
        connection.execute(delete(samples).where(samples.c.dataset == dataset.number, rest))
        connection.execute(update(datasets).where(this).values(samples=kept))
        return True


def _has_job(number: int | ColumnElement[int]) -> Exists:
    return select(jobs.c.number).where(jobs.c.dataset == number).exists()


def discard_abandoned(database: Database) -> None:
    """Remove what processes left behind that died between storing a list of URIs and accepting its job."""
    nameless = datasets.c.name.is_(None) & (datasets.c.created < datetime.now(UTC) - ABANDONED)
    statement = select(datasets.c.id).where(nameless, ~_has_job(datasets.c.number))
    with database.read() as connection:
        abandoned = list(connection.execute(statement).scalars())
    for dataset_id in abandoned:
        logger.info("removing a list of URIs that became no job")
        _discard(database, dataset_id)
