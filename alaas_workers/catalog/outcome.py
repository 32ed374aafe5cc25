"""How a job goes on and ends: started, progress, and the one place that writes a terminal state."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from sqlalchemy import Connection, Update, insert, select, update

from alaas.errors import InvalidRequest, NotFound
from alaas.jobs import JobState, Problem, Progress, Report
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.jobs import OPEN, no_such_job
from alaas_workers.catalog.records import furthest
from alaas_workers.catalog.tables import datasets, jobs, reports
from alaas_workers.catalog.texts import known_form


def mark_running(database: Database, job_id: str) -> bool:
    """True for the one call that started it."""
    values = {"state": JobState.RUNNING, "started": datetime.now(UTC)}
    with database.write() as connection:
        return _change(connection, job_id, update(jobs).where(jobs.c.state == JobState.QUEUED).values(values))


def finish(
    database: Database,
    job_id: str,
    state: JobState,
    report: Report | None,
    error: Problem | None,
    repeated: int = 0,
) -> bool:
    """Compare and set: of all calls for a job, the first wins; its report is stored in the same transaction."""
    if not state.is_terminal or (report is not None) != (state is JobState.SUCCEEDED):
        raise ValueError(f"{state} is no end of a job, or does not go with what was given as its report")
    if state is JobState.FAILED and error is None:
        raise ValueError("a failed job says why")
    body = None if report is None else zlib.compress(_json(report, "report").encode())
    values = {
        "state": state,
        "finished": datetime.now(UTC),
        "error": None if error is None else _json(error, "error"),
    }
    with database.write() as connection:
        won = _change(connection, job_id, update(jobs).where(jobs.c.state.in_(OPEN)).values(values))
        if won and body is not None:
            number = select(jobs.c.number).where(jobs.c.id == job_id).scalar_subquery()
            connection.execute(insert(reports).values(job=number, body=body))
        if won and repeated:
            # With the end of the import, which happens once; its batches may be done again.
            dataset = select(jobs.c.dataset).where(jobs.c.id == job_id).scalar_subquery()
            added = {"duplicates": datasets.c.duplicates + repeated}
            connection.execute(update(datasets).where(datasets.c.number == dataset).values(added))
        return won


def _json(what: BaseModel, field: str) -> str:
    try:
        return what.model_dump_json()
    except PydanticSerializationError:
        raise InvalidRequest("holds a text that is not valid Unicode", field=field) from None


def _change(connection: Connection, job_id: str, statement: Update) -> bool:
    """Apply `statement` to the job; False when the job is no longer in the state that it asks for."""
    if connection.execute(statement.where(jobs.c.id == job_id)).rowcount:
        return True
    if connection.execute(select(jobs.c.number).where(jobs.c.id == job_id)).one_or_none() is None:
        raise no_such_job()
    return False


def save_progress(database: Database, job_id: str, progress: Progress) -> None:
    """Keep the element-wise maximum of `progress` and what is stored."""
    with database.write() as connection:
        stored = connection.execute(select(jobs.c.progress).where(jobs.c.id == job_id).with_for_update()).scalar()
        if stored is None:
            raise no_such_job()
        merged = furthest(Progress.model_validate_json(stored), progress).model_dump_json()
        if merged != stored:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(progress=merged))


def report(connection: Connection, job_id: str, owner: str | None) -> bytes:
    """The report's canonical JSON, to the byte as it was finished; NotFound until then."""
    statement: Any = select(reports.c.body).join(jobs, reports.c.job == jobs.c.number)
    statement = statement.where(jobs.c.id == known_form(job_id, "job"))
    if owner is not None:
        statement = statement.where(jobs.c.owner == owner)
    body = connection.execute(statement).scalar_one_or_none()
    if body is None:
        raise NotFound("There is no report of such a job.")
    return zlib.decompress(body)
