"""Labels: each call of `add` is an event of its dataset, numbered in order of commit.

A sample keeps the event of its first label for ever. So what had a label at event E is known at any later time,
which is what the snapshot of a job's pool rests on (docs/catalog.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection, update

from alaas.errors import InvalidRequest, NotFound
from alaas_workers.catalog import bulk
from alaas_workers.catalog.datasets import find
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.samples import BATCH, batches
from alaas_workers.catalog.tables import datasets
from alaas_workers.catalog.texts import check_text, sample_key

_ID = re.compile(r"[0-9a-f]{32}\Z")


def add(database: Database, owner: str, dataset_id: str, labels: Mapping[str, str]) -> int:
    """Label samples named by id or URI, all or none; a label replaces an earlier one. Returns how many samples.

    NotFound names the first that the dataset lacks; InvalidRequest one that got two labels, by id and by URI.
    """
    wanted = [(key, sample_key(key, "labels"), check_text(label, "labels")) for key, label in labels.items()]
    with database.write() as connection:
        dataset = find(connection, owner, dataset_id, lock=True)
        chosen: dict[int, str] = {}
        fresh = sum(_resolve(connection, dataset.number, batch, chosen) for batch in batches(wanted, BATCH // 2))
        if chosen:
            event = dataset.label_events + 1
            for rows in batches(chosen.items()):
                bulk.set_labels(connection, dataset.number, event, rows)
            counters = {"label_events": event, "labelled": dataset.labelled + fresh}
            connection.execute(update(datasets).where(datasets.c.number == dataset.number).values(counters))
    return len(chosen)


def _resolve(connection: Connection, dataset: int, batch: list[tuple[str, bytes, str]], chosen: dict[int, str]) -> int:
    """Add the samples' ordinals and labels to `chosen`; returns how many of these samples had no label before.

    A name in the form of an id is one if that sample is there, and else a URI.
    """
    as_ids = {name: bytes.fromhex(name) for name, _, _ in batch if _ID.match(name)}
    known = bulk.lookup(connection, dataset, [*as_ids.values(), *(key for _, key, _ in batch)])
    fresh = 0
    for name, key, label in batch:
        sample = known.get(as_ids.get(name, key), known.get(key))
        if sample is None:
            raise NotFound(f"The dataset has no sample {name!r:.300}.", field="labels")
        fresh += sample.label_event is None and sample.ordinal not in chosen
        if chosen.setdefault(sample.ordinal, label) != label:
            raise InvalidRequest(f"{name!r:.300} has two labels, one by its id and one by its URI", field="labels")
    return fresh
