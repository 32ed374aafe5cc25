"""The samples of a dataset: streamed in, numbered without gaps in the order in which they came, listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, select, update

from alaas.errors import TooLarge
from alaas.jobs import Sample, SamplesAdded
from alaas_workers.catalog import bulk
from alaas_workers.catalog.datasets import find, find_any
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.tables import datasets, samples
from alaas_workers.catalog.texts import MAX_URI, bad_cursor, check_limit, check_text, cursor, sample_key

BATCH = 8000
"""Samples of one transaction: it holds SQLite's only write lock for some 0.1 s."""

T = TypeVar("T")


def batches(items: Iterable[T], size: int | None = None) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size or BATCH)):
        yield batch


def add(database: Database, owner: str, dataset_id: str, uris: Iterable[str], max_pool: int) -> SamplesAdded:
    """Add what the dataset lacks. Each batch is committed by itself, and `uris` is never read within a transaction.

    So a slow stream holds no lock; and when it breaks off, what came before stays and a repetition adds the rest.
    """
    with database.read() as connection:
        find(connection, owner, dataset_id)
    received = added = 0
    mine = _Ordinals()
    for batch in batches((sample_key(uri, "uris"), uri) for uri in uris):
        with database.write() as connection:
            added += _add_batch(connection, owner, dataset_id, batch, mine, max_pool)
        received += len(batch)
    return SamplesAdded(received=received, added=added, duplicates=received - added)


class _Ordinals:
    """The ordinals that one call gave out: a single range unless others added to the dataset meanwhile."""

    def __init__(self) -> None:
        self._ranges: list[range] = []

    def add(self, start: int, count: int) -> None:
        if self._ranges and self._ranges[-1].stop == start:
            self._ranges[-1] = range(self._ranges[-1].start, start + count)
        else:
            self._ranges.append(range(start, start + count))

    def __contains__(self, ordinal: int) -> bool:
        return any(ordinal in given for given in self._ranges)


def _add_batch(
    connection: Connection, owner: str, dataset_id: str, batch: list[tuple[bytes, str]], mine: _Ordinals, max_pool: int
) -> int:
    """Returns how many were new. A repetition counts as a duplicate when this call brought the URI in."""
    dataset = find(connection, owner, dataset_id, lock=True)
    distinct = dict(batch)
    known = bulk.lookup(connection, dataset.number, list(distinct)) if dataset.samples else {}
    fresh = [bulk.Fresh(key, uri) for key, uri in distinct.items() if key not in known]
    if dataset.samples + len(fresh) > max_pool:
        raise TooLarge(f"A dataset holds {max_pool} samples at most.", field="uris")
    bulk.insert(connection, dataset.number, dataset.samples, fresh)
    mine.add(dataset.samples, len(fresh))
    repeated = sum(known[key].ordinal in mine if key in known else 1 for key, _ in batch) - len(fresh)
    counters = {"samples": dataset.samples + len(fresh), "duplicates": dataset.duplicates + repeated}
    connection.execute(update(datasets).where(datasets.c.number == dataset.number).values(counters))
    return len(fresh)


def page(
    connection: Connection, owner: str, dataset_id: str, after: str | None, limit: int, labelled: bool | None
) -> tuple[list[Sample], str | None]:
    """In the order in which they came."""
    dataset = find(connection, owner, dataset_id)
    start = -1 if after is None else _position(connection, dataset.number, after)
    statement = select(samples).where(samples.c.dataset == dataset.number)
    if labelled is not None:
        has_label = samples.c.label_event.is_not(None)
        statement = statement.where(has_label if labelled else ~has_label)
    rows = scan(connection, statement, start, dataset.samples, check_limit(limit) + 1)
    items = [Sample(id=row.id.hex(), uri=row.uri, label=row.label) for row in rows[:limit]]
    return items, items[-1].id if len(rows) > limit else None


def _position(connection: Connection, dataset: int, after: str) -> int:
    key = bytes.fromhex(cursor(after) or "")
    found = bulk.lookup(connection, dataset, [key])
    if not found:
        raise bad_cursor()
    return found[key].ordinal


def scan(connection: Connection, statement: Select[Any], after: int, end: int, limit: int) -> list[Row[Any]]:
    """The first `limit` rows of `statement`, a choice of samples, with `after` < ordinal < `end`; by ordinal.

    It reads short ranges, each twice the one before. A database may not know yet how large the dataset has become
    (PostgreSQL counts once a minute), and would sort all that is left of it for each page.
    """
    rows: list[Row[Any]] = []
    span = limit
    while len(rows) < limit and after < end - 1:
        upto = min(after + span, end - 1)
        within = statement.where(samples.c.ordinal > after, samples.c.ordinal <= upto).order_by(samples.c.ordinal)
        rows += connection.execute(within.limit(limit - len(rows)))
        after, span = upto, span * 2
    return rows


def set_versions(database: Database, dataset_id: str, versions: Mapping[int, str]) -> None:
    """Remember what the samples' sources said of them last; unknown ordinals are passed over."""
    for batch in batches(versions.items()):
        rows = [(ordinal, check_text(version, "version", MAX_URI)) for ordinal, version in batch]
        with database.write() as connection:
            dataset = find_any(connection, dataset_id)
            bulk.set_versions(connection, dataset.number, rows)
