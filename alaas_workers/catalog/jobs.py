"""Jobs after their submission: read, list, count, start."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, select

from alaas.errors import NotFound
from alaas.jobs import JobState
from alaas_workers.catalog.records import JobRecord, to_record
from alaas_workers.catalog.tables import datasets, jobs
from alaas_workers.catalog.texts import bad_cursor, check_limit, cursor, known_form

OPEN = [state for state in JobState if not state.is_terminal]


def select_jobs() -> Select[Any]:
    """Every column of a job, and the public id of its dataset."""
    return select(jobs, datasets.c.id.label("dataset_id")).join(datasets, jobs.c.dataset == datasets.c.number)


def no_such_job() -> NotFound:
    return NotFound("There is no such job.")


def get(connection: Connection, job_id: str, owner: str | None) -> JobRecord:
    statement = select_jobs().where(jobs.c.id == known_form(job_id, "job"))
    if owner is not None:
        statement = statement.where(jobs.c.owner == owner)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise no_such_job()
    return to_record(row)


def page(
    connection: Connection, owner: str, after: str | None, limit: int, state: JobState | None
) -> tuple[list[JobRecord], str | None]:
    """Newest first."""
    statement = select_jobs().where(jobs.c.owner == owner).order_by(jobs.c.number.desc())
    if state is not None:
        statement = statement.where(jobs.c.state == state)
    if cursor(after) is not None:
        found = select(jobs.c.number).where(jobs.c.owner == owner, jobs.c.id == after)
        number = connection.execute(found).scalar_one_or_none()
        if number is None:
            raise bad_cursor()
        statement = statement.where(jobs.c.number < number)
    rows = connection.execute(statement.limit(check_limit(limit) + 1)).all()
    return [to_record(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def unfinished(connection: Connection) -> list[JobRecord]:
    """Oldest first, of all owners."""
    rows = connection.execute(select_jobs().where(jobs.c.state.in_(OPEN)).order_by(jobs.c.number))
    return [to_record(row) for row in rows]


def states(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    counted = {state: count for state, count in rows}
    return {state.value: counted.get(state, 0) for state in JobState}
