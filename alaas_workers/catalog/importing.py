"""The samples of an import, a batch a transaction: added with versions and labels, and nothing once the job has ended.

Every batch may be done again, by a worker that takes the import over from one that died: what it gives back, and what
is in the catalog at the end, is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from alaas.errors import TooLarge
from alaas_workers.catalog import bulk
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.jobs import OPEN, no_such_job
from alaas_workers.catalog.tables import datasets, jobs
from alaas_workers.catalog.texts import MAX_URI, check_text, sample_key


class ListedSample(NamedTuple):
    """A sample as its listing tells of it. `version`: "" where it tells none. `label`: None for none."""

    uri: str
    version: str = ""
    label: str | None = None


def add_batch(database: Database, job_id: str, rows: Sequence[ListedSample], max_pool: int) -> list[int] | None:
    """See `Catalog.import_batch`; at most some thousand rows, since it holds SQLite's only write lock."""
    keys = [sample_key(row.uri, "listing") for row in rows]
    keyed: dict[bytes, ListedSample] = {}
    for key, row in zip(keys, rows, strict=True):
        keyed[key] = _merged(keyed.get(key), _checked(row))
    with database.write() as connection:
        dataset = _open_dataset(connection, job_id)
        if dataset is None:
            return None
        known = bulk.lookup(connection, dataset.number, list(keyed)) if dataset.samples else {}
        fresh = [bulk.Fresh(key, row.uri, row.version) for key, row in keyed.items() if key not in known]
        if dataset.samples + len(fresh) > max_pool:
            raise TooLarge(f"A dataset holds {max_pool} samples at most.", field="dataset_id")
        bulk.insert(connection, dataset.number, dataset.samples, fresh)
        ordinals = {key: sample.ordinal for key, sample in known.items()}
        ordinals |= {sample.key: ordinal for ordinal, sample in enumerate(fresh, start=dataset.samples)}
        news = [(sample.ordinal, keyed[key].version) for key, sample in known.items() if keyed[key].version]
        bulk.set_versions(connection, dataset.number, news)
        counters = {"samples": dataset.samples + len(fresh)} | _label(connection, dataset, keyed, known, ordinals)
        connection.execute(update(datasets).where(datasets.c.number == dataset.number).values(counters))
    return [ordinals[key] for key in keys]


def _checked(row: ListedSample) -> ListedSample:
    if row.version:
        check_text(row.version, "version", MAX_URI)
    if row.label is not None:
        check_text(row.label, "label")
    return row


def _merged(one: ListedSample | None, other: ListedSample) -> ListedSample:
    """Of a sample that comes twice: the last label and version that are there, as with two batches."""
    if one is None:
        return other
    return ListedSample(one.uri, other.version or one.version, one.label if other.label is None else other.label)


def _open_dataset(connection: Connection, job_id: str) -> Row[Any] | None:
    """The dataset of an import, locked; None when the import has ended: by its owner, say."""
    statement = select(jobs.c.state, jobs.c.dataset).where(jobs.c.id == job_id)
    # Locked, so that nothing is added after somebody was told that it was cancelled.
    job = connection.execute(statement.with_for_update(read=True)).one_or_none()
    if job is None:
        raise no_such_job()
    if job.state not in OPEN:
        return None
    found: Row[Any] = connection.execute(
        select(datasets).where(datasets.c.number == job.dataset).with_for_update(key_share=True)
    ).one()
    return found


def _label(
    connection: Connection,
    dataset: Row[Any],
    rows: Mapping[bytes, ListedSample],
    known: Mapping[bytes, bulk.Known],
    ordinals: Mapping[bytes, int],
) -> dict[str, int]:
    """Store the labels that rows bring, as one event; the dataset's counters that change by it."""
    labels = {key: row.label for key, row in rows.items() if row.label is not None}
    if not labels:
        return {}
    event = dataset.label_events + 1
    bulk.set_labels(connection, dataset.number, event, [(ordinals[key], label) for key, label in labels.items()])
    fresh = sum(key not in known or known[key].label_event is None for key in labels)
    return {"label_events": event, "labelled": dataset.labelled + fresh}
