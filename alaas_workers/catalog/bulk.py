"""The two statements that run for every sample of a dataset, as SQL of the drivers: a million must take seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection


class Known(NamedTuple):
    ordinal: int
    label_event: int | None  # of the first label


def lookup(connection: Connection, dataset: int, keys: Sequence[bytes]) -> dict[bytes, Known]:
    """Those of these samples (a batch: SQLite takes 32,766 parameters) that the dataset holds."""
    if connection.dialect.name == "sqlite":
        # SQLite guesses that a dataset has ten samples, and would read a million of them instead of the index.
        marks = ",".join("?" * len(keys))
        sql = (
            f"SELECT id, ordinal, label_event FROM samples INDEXED BY ix_samples_id WHERE dataset=? AND id IN ({marks})"  # noqa: S608
        )
        rows = connection.exec_driver_sql(sql, (dataset, *keys))
    else:
        sql = "SELECT id, ordinal, label_event FROM samples WHERE dataset=%s AND id=ANY(%s)"
        rows = connection.exec_driver_sql(sql, (dataset, list(keys)))
    return {key: Known(ordinal, event) for key, ordinal, event in rows}


def insert(connection: Connection, dataset: int, first: int, fresh: Iterable[tuple[bytes, str]]) -> None:
    """Store ids and URIs as the ordinals `first`, `first + 1`, ..."""
    rows = [(dataset, ordinal, key, uri) for ordinal, (key, uri) in enumerate(fresh, start=first)]
    rows.sort(key=lambda row: row[2])  # so that the index of ids is passed through once, not at random
    marks = "?,?,?,?" if connection.dialect.name == "sqlite" else "%s,%s,%s,%s"
    if rows:
        connection.exec_driver_sql(f"INSERT INTO samples (dataset, ordinal, id, uri) VALUES ({marks})", rows)  # noqa: S608
