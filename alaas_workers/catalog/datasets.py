"""Datasets of an owner: create or find by name, read, list."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from alaas.errors import Conflict, NotFound
from alaas.jobs import Dataset
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.tables import datasets
from alaas_workers.catalog.texts import as_json, bad_cursor, check_limit, check_tags, check_text, cursor, known_form


def create(database: Database, owner: str, name: str, modality: str, tags: Mapping[str, str]) -> tuple[Dataset, bool]:
    check_text(owner, "owner")
    check_text(name, "name")
    check_text(modality, "modality")
    tags = check_tags(tags)
    with database.write() as connection:
        database.hold(connection, f"owner {owner}")  # so that a name is made once
        existing = connection.execute(_of(owner).where(datasets.c.name == name)).one_or_none()
        if existing is None:
            return to_dataset(insert_dataset(connection, owner, name, modality, tags)), True
        if existing.modality != modality:
            raise Conflict(f"The dataset {name!r} holds {existing.modality}, not {modality}.", field="modality")
        return to_dataset(_merge_tags(connection, existing, tags)), False


def insert_dataset(
    connection: Connection, owner: str, name: str | None, modality: str, tags: Mapping[str, str]
) -> Row[Any]:
    row = {"id": secrets.token_hex(16), "owner": owner, "name": name, "modality": modality}
    values = {**row, "tags": as_json(tags, "tags"), "created": datetime.now(UTC)}
    return connection.execute(insert(datasets).values(values).returning(datasets)).one()


def _merge_tags(connection: Connection, existing: Row[Any], tags: Mapping[str, str]) -> Row[Any]:
    before = json.loads(existing.tags)
    after = check_tags({**before, **tags})
    if after == before:
        return existing
    statement = update(datasets).where(datasets.c.number == existing.number).values(tags=as_json(after, "tags"))
    return connection.execute(statement.returning(datasets)).one()


def find(connection: Connection, owner: str, dataset_id: str, *, lock: bool = False) -> Row[Any]:
    """The row; NotFound for another owner's. `lock`: no one else changes its counters until the transaction ends."""
    statement = _of(owner).where(datasets.c.id == known_form(dataset_id, "dataset"))
    row = connection.execute(statement.with_for_update(key_share=True) if lock else statement).one_or_none()
    if row is None:
        raise NotFound("There is no such dataset.", field="dataset_id")
    return row


def find_any(connection: Connection, dataset_id: str) -> Row[Any]:
    """The row, locked, whoever owns it: for what the fleet does on its own account."""
    statement = select(datasets).where(datasets.c.id == dataset_id).with_for_update(key_share=True)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound("There is no such dataset.", field="dataset_id")
    return row


def page(
    connection: Connection, owner: str, after: str | None, limit: int, name: str | None
) -> tuple[list[Dataset], str | None]:
    """Oldest first, without the nameless ones that belong to one job."""
    statement = _of(owner).where(datasets.c.name.is_not(None)).order_by(datasets.c.number)
    if name is not None:
        statement = statement.where(datasets.c.name == check_text(name, "name"))
    if cursor(after) is not None:
        found = select(datasets.c.number).where(datasets.c.owner == owner, datasets.c.id == after)
        number = connection.execute(found).scalar_one_or_none()
        if number is None:
            raise bad_cursor()
        statement = statement.where(datasets.c.number > number)
    rows = connection.execute(statement.limit(check_limit(limit) + 1)).all()
    return [to_dataset(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def _of(owner: str) -> Select[Any]:
    return select(datasets).where(datasets.c.owner == owner)


def to_dataset(row: Row[Any]) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name or "",
        owner=row.owner,
        modality=row.modality,
        tags=json.loads(row.tags),
        created=row.created,
        samples=row.samples,
        labelled=row.labelled,
    )
