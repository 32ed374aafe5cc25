"""The samples of a dataset: streamed in, numbered without gaps in the order in which they came, listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, bindparam, select, update

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


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
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
    fresh = [(key, uri) for key, uri in distinct.items() if key not in known]
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
    statement = select(samples).where(samples.c.dataset == dataset.number).order_by(samples.c.ordinal)
    if labelled is not None:
        has_label = samples.c.label_event.is_not(None)
        statement = statement.where(has_label if labelled else ~has_label)
    if after is not None:
        key = bytes.fromhex(cursor(after) or "")
        found = bulk.lookup(connection, dataset.number, [key])
        if not found:
            raise bad_cursor()
        statement = statement.where(samples.c.ordinal > found[key].ordinal)
    rows = connection.execute(statement.limit(check_limit(limit) + 1)).all()
    items = [Sample(id=row.id.hex(), uri=row.uri, label=row.label) for row in rows[:limit]]
    return items, items[-1].id if len(rows) > limit else None


def set_versions(database: Database, dataset_id: str, versions: Mapping[int, str]) -> None:
    """Remember what the samples' sources said of them last; unknown ordinals are passed over."""
    with database.read() as connection:
        number = find_any(connection, dataset_id).number
    statement = (
        update(samples)
        .where(samples.c.dataset == number, samples.c.ordinal == bindparam("at"))
        .where(samples.c.version != bindparam("now"))
        .values(version=bindparam("now"))
    )
    # In one order everywhere, so that two writers never wait for each other's rows.
    for batch in batches(sorted(versions.items())):
        rows = [{"at": at, "now": check_text(now, "version", MAX_URI)} for at, now in batch]
        with database.write() as connection:
            connection.execute(statement, rows)
