"""The statements that run for every sample of a dataset, as SQL of the drivers: a million must take seconds.

Whoever writes samples holds the lock on their dataset's row (`datasets.find`), so writers never cross each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection


class Known(NamedTuple):
    ordinal: int
    label_event: int | None  # of the first label


class Fresh(NamedTuple):
    key: bytes
    uri: str
    version: str = ""


def lookup(connection: Connection, dataset: int, keys: Sequence[bytes]) -> dict[bytes, Known]:
    """Those of these samples (a batch: SQLite takes 32,766 parameters) that the dataset holds.

    Both databases guess at first that a dataset has few samples, and would read a million of them for a batch: each
    is told to go by the index of ids.
    """
    if _is_sqlite(connection):
        marks = ",".join("?" * len(keys))
        found = f"samples INDEXED BY ix_samples_id WHERE dataset = ? AND id IN ({marks})"
        rows = connection.exec_driver_sql(f"SELECT id, ordinal, label_event FROM {found}", (dataset, *keys))  # noqa: S608 - marks only
    else:
        one = "SELECT ordinal, label_event FROM samples WHERE dataset = %s AND samples.id = wanted.id LIMIT 1"
        each = f"unnest(%b::bytea[]) AS wanted (id) CROSS JOIN LATERAL ({one}) AS found"
        sql = f"SELECT id, ordinal, label_event FROM {each}"  # noqa: S608 - constants
        rows = connection.exec_driver_sql(sql, (list(keys), dataset))
    return {key: Known(ordinal, event) for key, ordinal, event in rows}


def insert(connection: Connection, dataset: int, first: int, fresh: Sequence[Fresh]) -> None:
    """Store samples as the ordinals `first`, `first + 1`, ..."""
    rows = [(ordinal, *sample) for ordinal, sample in enumerate(fresh, start=first)]
    rows.sort(key=lambda row: row[1])  # so that the index of ids is passed through once, not at random
    into = f"INSERT INTO samples (dataset, ordinal, id, uri, version) SELECT {dataset:d}, "
    if rows and _is_sqlite(connection):
        connection.exec_driver_sql(f"{into} ?, ?, ?, ?", rows)
    elif rows:  # one statement for all, whose columns go as arrays in binary
        columns = tuple(list(column) for column in zip(*rows, strict=True))
        connection.exec_driver_sql(f"{into} * FROM unnest(%b::int[], %b::bytea[], %b::text[], %b::text[])", columns)


def set_versions(connection: Connection, dataset: int, rows: Sequence[tuple[int, str]]) -> None:
    """Store versions by ordinal; rows that hold theirs already are not written."""
    sql = f"UPDATE samples SET version = ? WHERE dataset = {dataset:d} AND ordinal = ? AND version <> ?"  # noqa: S608 - a number
    _each(connection, sql, [(version, ordinal, version) for ordinal, version in rows])


def set_labels(connection: Connection, dataset: int, event: int, rows: Sequence[tuple[int, str]]) -> None:
    """Store labels by ordinal; a sample that had one keeps the event of its first."""
    values = f"label = ?, label_event = coalesce(label_event, {event:d})"
    sql = f"UPDATE samples SET {values} WHERE dataset = {dataset:d} AND ordinal = ?"  # noqa: S608 - numbers
    _each(connection, sql, [(label, ordinal) for ordinal, label in rows])


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _each(connection: Connection, sql: str, rows: list[tuple[object, ...]]) -> None:
    """The statement once for each row; psycopg sends them without waiting for each other's answers."""
    if rows:
        connection.exec_driver_sql(sql if _is_sqlite(connection) else sql.replace("?", "%s"), rows)
