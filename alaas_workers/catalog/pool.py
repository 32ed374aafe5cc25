"""The pool of a job as it was at submission, read in pages by ordinal."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select

from alaas.errors import NotFound
from alaas_workers.catalog.records import PoolSample
from alaas_workers.catalog.tables import jobs, samples
from alaas_workers.catalog.texts import check_limit


def page(connection: Connection, job_id: str, after: int, limit: int) -> list[PoolSample]:
    """The next samples of the pool with an ordinal above `after`; fewer than `limit` at the end only."""
    job = _snapshot(connection, job_id)
    first_label = samples.c.label_event
    unlabelled = or_(first_label.is_(None), first_label > job.label_events)
    statement = _covered(job).where(unlabelled, samples.c.ordinal > after)
    return _read(connection, statement.limit(check_limit(limit)))


def labelled(connection: Connection, job_id: str) -> list[PoolSample]:
    """All samples that had a label when the job was accepted."""
    job = _snapshot(connection, job_id)
    first_label = samples.c.label_event
    return _read(connection, _covered(job).where(first_label.is_not(None), first_label <= job.label_events))


def _snapshot(connection: Connection, job_id: str) -> Row[Any]:
    statement = select(jobs.c.dataset, jobs.c.pool_size, jobs.c.label_events).where(jobs.c.id == job_id)
    row: Row[Any] | None = connection.execute(statement).one_or_none()  # type: ignore[assignment]
    if row is None:
        raise NotFound("There is no such job.")
    return row


def _covered(job: Row[Any]) -> Select[Any]:
    """What the dataset held at submission. Its rows lie in the order of their ordinals, so a page is one short read."""
    columns = select(samples.c.ordinal, samples.c.id, samples.c.uri, samples.c.version)
    in_job = (samples.c.dataset == job.dataset, samples.c.ordinal < job.pool_size)
    return columns.where(*in_job).order_by(samples.c.ordinal)


def _read(connection: Connection, statement: Select[Any]) -> list[PoolSample]:
    return [PoolSample(at, key.hex(), uri, version) for at, key, uri, version in connection.execute(statement)]
