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


def lookup(connection: Connection, dataset: int, keys: Sequence[bytes]) -> dict[bytes, Known]:
    """Those of these samples (a batch: SQLite takes 32,766 parameters) that the dataset holds."""
    if _is_sqlite(connection):
        # SQLite guesses that a dataset has ten samples, and would read a million of them instead of the index.
        marks = ",".join("?" * len(keys))
        found = f"samples INDEXED BY ix_samples_id WHERE dataset = ? AND id IN ({marks})"
        rows = connection.exec_driver_sql(f"SELECT id, ordinal, label_event FROM {found}", (dataset, *keys))  # noqa: S608 - marks only
    else:
        sql = "SELECT id, ordinal, label_event FROM samples WHERE dataset = %s AND id = ANY(%b)"
        rows = connection.exec_driver_sql(sql, (dataset, list(keys)))
    return {key: Known(ordinal, event) for key, ordinal, event in rows}


def insert(connection: Connection, dataset: int, first: int, fresh: Sequence[tuple[bytes, str]]) -> None:
    """Store ids and URIs as the ordinals `first`, `first + 1`, ..."""
    rows = [(ordinal, key, uri) for ordinal, (key, uri) in enumerate(fresh, start=first)]
    rows.sort(key=lambda row: row[1])  # so that the index of ids is passed through once, not at random
    if _is_sqlite(connection):
        sql = f"INSERT INTO samples (dataset, ordinal, id, uri) VALUES ({dataset:d}, ?, ?, ?)"  # noqa: S608 - a number
        _each(connection, sql, rows)
    else:
        source = "unnest(%b::int[], %b::bytea[], %b::text[])"
        sql = f"INSERT INTO samples (dataset, ordinal, id, uri) SELECT %s, * FROM {source}"  # noqa: S608
        _together(connection, sql, dataset, rows)


def set_versions(connection: Connection, dataset: int, rows: Sequence[tuple[int, str]]) -> None:
    """Store versions by ordinal; rows that hold theirs already are not written."""
    if _is_sqlite(connection):
        sql = f"UPDATE samples SET version = ? WHERE dataset = {dataset:d} AND ordinal = ? AND version <> ?"  # noqa: S608 - a number
        _each(connection, sql, [(version, ordinal, version) for ordinal, version in rows])
    else:
        source = (
            "(SELECT %s::bigint AS dataset, * FROM unnest(%b::int[], %b::text[]) AS given (ordinal, version)) AS new"
        )
        same = "samples.dataset = new.dataset AND samples.ordinal = new.ordinal AND samples.version <> new.version"
        _together(connection, f"UPDATE samples SET version = new.version FROM {source} WHERE {same}", dataset, rows)  # noqa: S608


def set_labels(connection: Connection, dataset: int, event: int, rows: Sequence[tuple[int, str]]) -> None:
    """Store labels by ordinal; a sample that had one keeps the event of its first."""
    new_event = f"label_event = coalesce(samples.label_event, {event:d})"
    if _is_sqlite(connection):
        sql = f"UPDATE samples SET label = ?, {new_event} WHERE dataset = {dataset:d} AND ordinal = ?"  # noqa: S608 - numbers
        _each(connection, sql, [(label, ordinal) for ordinal, label in rows])
    else:
        source = "(SELECT %s::bigint AS dataset, * FROM unnest(%b::int[], %b::text[]) AS given (ordinal, label)) AS new"
        same = "samples.dataset = new.dataset AND samples.ordinal = new.ordinal"
        sql = f"UPDATE samples SET label = new.label, {new_event} FROM {source} WHERE {same}"  # noqa: S608 - a number
        _together(connection, sql, dataset, rows)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _each(connection: Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
    """SQLite: the statement once for each row, which costs a call within the process."""
    if rows:
        connection.exec_driver_sql(sql, list(rows))


def _together(connection: Connection, sql: str, dataset: int, rows: Sequence[tuple[object, ...]]) -> None:
    """PostgreSQL: one statement for all rows, whose columns go as arrays in binary."""
    if rows:
        connection.exec_driver_sql(sql, (dataset, *map(list, zip(*rows, strict=True))))
