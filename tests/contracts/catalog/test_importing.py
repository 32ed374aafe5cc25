"""What an import adds: samples with versions and labels, once however often it is done, and nothing after its end."""

from __future__ import annotations

import pytest

from alaas.errors import InvalidRequest, TooLarge
from alaas.jobs import JobRequest, JobState, Listing, Report
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.catalog.importing import ListedSample
from tests.support.catalogs import MANY, OWNER, new_dataset, new_job, uris

LISTING = Listing(uri="s3://bucket/pool/", label_column="species")


def new_import(catalog: Catalog, dataset_id: str) -> JobRecord:
    asked = JobRequest(kind="import", dataset_id=dataset_id, listing=LISTING)
    return catalog.create_job(OWNER, asked, model="", strategy=None, max_active=10)[0]


def rows(count: int, first: int = 0) -> list[ListedSample]:
    return [ListedSample(uri, f"v{number}") for number, uri in enumerate(uris(count)[first:], start=first)]


def done(catalog: Catalog, record: JobRecord, batch: list[ListedSample]) -> list[int]:
    ordinals = catalog.import_batch(record.id, batch, MANY)
    assert ordinals is not None
    return ordinals


def test_an_empty_dataset_takes_an_import_and_the_job_remembers_its_listing(catalog: Catalog) -> None:
    record = new_import(catalog, new_dataset(catalog))
    assert Listing.model_validate(catalog.get_job(record.id).listing) == LISTING
    assert (record.kind, record.model, record.to_job().listing) == ("import", "", LISTING.model_dump())


def test_samples_come_with_versions_in_order_and_each_once(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    record = new_import(catalog, dataset_id)
    assert done(catalog, record, [*rows(4, first=1), *rows(2, first=1)]) == [1, 2, 3, 1]
    assert done(catalog, record, rows(4)) == [0, 1, 2, 3]
    pool = catalog.pool(new_job(catalog, dataset_id=dataset_id).id)
    assert [(sample.uri, sample.version) for sample in pool] == [
        (uri, f"v{number}") for number, uri in enumerate(uris(4))
    ]


def test_a_listing_that_tells_no_version_keeps_the_one_that_is_there(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    record = new_import(catalog, dataset_id)
    done(catalog, record, rows(1))
    done(catalog, record, [ListedSample(uris(1)[0])])
    assert catalog.pool(new_job(catalog, dataset_id=dataset_id).id)[0].version == "v0"


def test_labels_come_with_their_samples_and_the_last_one_stands(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)
    record, (one, two) = new_import(catalog, dataset_id), uris(2)
    batch = [ListedSample(one, label="cat"), ListedSample(two, label="dog"), ListedSample(one, label="cow"),
             ListedSample(two)]  # fmt: skip
    done(catalog, record, batch)
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 2
    done(catalog, record, batch)
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 2
    samples, _ = catalog.list_samples(OWNER, dataset_id)
    assert [sample.label for sample in samples] == ["cow", "dog"]


def test_nothing_is_added_once_the_import_has_ended(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    record = new_import(catalog, dataset_id)
    assert catalog.finish(record.id, JobState.CANCELLED)
    assert catalog.import_batch(record.id, rows(3), MANY) is None
    assert catalog.get_dataset(OWNER, dataset_id).samples == 0


def test_more_than_a_dataset_holds_is_refused_as_a_whole_batch(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    record = new_import(catalog, dataset_id)
    with pytest.raises(TooLarge):
        catalog.import_batch(record.id, rows(5), 4)
    assert catalog.get_dataset(OWNER, dataset_id).samples == 2


@pytest.mark.parametrize("row", [ListedSample("a\0b"), ListedSample("x" * 5000), ListedSample("a", label="\ud800"),
                                 ListedSample("a", label=""), ListedSample("a", version="\0")])  # fmt: skip
def test_what_the_catalog_cannot_hold_is_refused(catalog: Catalog, row: ListedSample) -> None:
    record = new_import(catalog, new_dataset(catalog))
    with pytest.raises(InvalidRequest):
        catalog.import_batch(record.id, [row], MANY)


def test_what_came_twice_is_counted_with_the_end_of_the_import_and_once(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    record = new_import(catalog, dataset_id)
    report = Report(kind="import", model="", fingerprint="", strategy=None, budget=None, seed=0, pool=1, duplicates=3,
                    selected=[], failed=[])  # fmt: skip
    assert catalog.finish(record.id, JobState.SUCCEEDED, report=report, repeated=3)
    assert not catalog.finish(record.id, JobState.SUCCEEDED, report=report, repeated=3)
    assert new_job(catalog, dataset_id=dataset_id).duplicates == 3
