"""The pool of a job as it was at submission, read in pages by ordinal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select

from alaas_workers.catalog.jobs import no_such_job
from alaas_workers.catalog.records import PoolSample
from alaas_workers.catalog.samples import scan
from alaas_workers.catalog.tables import jobs, samples
from alaas_workers.catalog.texts import check_limit

_FIRST_LABEL = samples.c.label_event


def page(connection: Connection, job_id: str, after: int, limit: int) -> list[PoolSample]:
    """The next samples of the pool with an ordinal above `after`; fewer than `limit` at the end only."""
    job = _snapshot(connection, job_id)
    unlabelled = or_(_FIRST_LABEL.is_(None), _FIRST_LABEL > job.label_events)
    return _samples(scan(connection, _of(job).where(unlabelled), after, job.pool_size, check_limit(limit)))


def labelled(connection: Connection, job_id: str) -> list[PoolSample]:
    """All samples that had a label when the job was accepted."""
    job = _snapshot(connection, job_id)
    had_label = (_FIRST_LABEL.is_not(None), _FIRST_LABEL <= job.label_events)
    in_order = _of(job).where(*had_label, samples.c.ordinal < job.pool_size).order_by(samples.c.ordinal)
    in_order = in_order.add_columns(samples.c.label)
    return _samples(connection.execute(in_order))


def _snapshot(connection: Connection, job_id: str) -> Row[Any]:
    statement = select(jobs.c.dataset, jobs.c.pool_size, jobs.c.label_events).where(jobs.c.id == job_id)
    row: Row[Any] | None = connection.execute(statement).one_or_none()  # type: ignore[assignment]
    if row is None:
        raise no_such_job()
    return row


def _of(job: Row[Any]) -> Select[Any]:
    columns = select(samples.c.ordinal, samples.c.id, samples.c.uri, samples.c.version)
    return columns.where(samples.c.dataset == job.dataset)


def _samples(rows: Iterable[Any]) -> list[PoolSample]:
    return [PoolSample(ordinal, key.hex(), uri, version, *label) for ordinal, key, uri, version, *label in rows]
