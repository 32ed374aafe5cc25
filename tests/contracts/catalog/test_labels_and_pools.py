from __future__ import annotations

import pytest

from alaas.errors import InvalidRequest, NotFound
from alaas_workers.catalog import Catalog, JobRecord, PoolSample, sample_id
from tests.support.catalogs import MANY, OTHER, OWNER, new_dataset, new_job, uris


def pool(catalog: Catalog, job: JobRecord, limit: int = 4) -> list[str]:
    found: list[str] = []
    after = -1
    while page := catalog.pool(job.id, after, limit):
        found += [sample.uri for sample in page]
        after = page[-1].ordinal
    return found


def labelled(catalog: Catalog, job: JobRecord) -> list[str]:
    return [sample.uri for sample in catalog.labelled(job.id)]


def labels(catalog: Catalog, dataset_id: str) -> dict[str, str | None]:
    return {sample.uri: sample.label for sample in catalog.list_samples(OWNER, dataset_id)[0]}


def test_samples_are_labelled_by_id_or_by_uri(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    first, second, third = uris(3)
    assert catalog.add_labels(OWNER, dataset_id, {first: "cat", sample_id(second): "dög"}) == 2
    assert labels(catalog, dataset_id) == {first: "cat", second: "dög", third: None}
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 2


def test_a_labelled_sample_comes_with_its_label_as_it_is_now(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    catalog.add_labels(OWNER, dataset_id, {uris(3)[0]: "cat", uris(3)[2]: "dog"})
    job = new_job(catalog, dataset_id=dataset_id)
    catalog.add_labels(OWNER, dataset_id, {uris(3)[0]: "tiger", uris(3)[1]: "too late"})
    assert [(sample.uri, sample.label) for sample in catalog.labelled(job.id)] == [
        (uris(3)[0], "tiger"),
        (uris(3)[2], "dog"),
    ]
    assert [sample.label for sample in catalog.pool(job.id)] == [None]


def test_a_uri_that_looks_like_an_id_can_be_labelled(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    catalog.add_samples(OWNER, dataset_id, ["a" * 32], MANY)
    assert catalog.add_labels(OWNER, dataset_id, {"a" * 32: "cat"}) == 1


def test_a_label_replaces_an_earlier_one_and_is_counted_once(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    catalog.add_labels(OWNER, dataset_id, {uris(2)[0]: "cat"})
    assert catalog.add_labels(OWNER, dataset_id, {uris(2)[0]: "dog", uris(2)[1]: "cat"}) == 2
    assert labels(catalog, dataset_id) == {uris(2)[0]: "dog", uris(2)[1]: "cat"}
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 2


def test_one_sample_named_twice_with_one_label_is_labelled_once(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)
    (uri,) = uris(1)
    assert catalog.add_labels(OWNER, dataset_id, {uri: "cat", sample_id(uri): "cat"}) == 1
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 1


def test_one_sample_named_twice_with_two_labels_is_refused(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)
    (uri,) = uris(1)
    with pytest.raises(InvalidRequest) as caught:
        catalog.add_labels(OWNER, dataset_id, {uri: "cat", sample_id(uri): "dog"})
    assert caught.value.field == "labels"


def test_an_unknown_sample_is_named_and_nothing_is_labelled(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    with pytest.raises(NotFound, match="nowhere") as caught:
        catalog.add_labels(OWNER, dataset_id, {uris(2)[0]: "cat", "nowhere": "dog"})
    assert caught.value.field == "labels"
    assert catalog.get_dataset(OWNER, dataset_id).labelled == 0
    assert set(labels(catalog, dataset_id).values()) == {None}


@pytest.mark.parametrize("bad", ["", "nul\x00", "surrogate\ud800", "x" * 201])
def test_a_label_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    dataset_id = new_dataset(catalog, 1)
    with pytest.raises(InvalidRequest) as caught:
        catalog.add_labels(OWNER, dataset_id, {uris(1)[0]: bad})
    assert caught.value.field == "labels"


@pytest.mark.parametrize("bad", ["", "nul\x00", "surrogate\ud800"])
def test_a_name_of_a_sample_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    with pytest.raises(InvalidRequest):
        catalog.add_labels(OWNER, new_dataset(catalog, 1), {bad: "cat"})


def test_another_owner_cannot_label(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        catalog.add_labels(OTHER, new_dataset(catalog, 1), {uris(1)[0]: "cat"})


def test_a_pool_is_what_had_no_label_at_submission(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 10)
    catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(10)[:3]})
    job = new_job(catalog, dataset_id=dataset_id, budget=7)
    assert (job.pool_size, job.unlabelled) == (10, 7)
    assert pool(catalog, job) == uris(10)[3:]
    assert labelled(catalog, job) == uris(10)[:3]


def test_labels_samples_and_relabels_after_submission_change_no_pool(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 10)
    catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(10)[:3]})
    job = new_job(catalog, dataset_id=dataset_id)
    catalog.add_labels(OWNER, dataset_id, {uri: "dog" for uri in uris(10)[2:6]})
    catalog.add_samples(OWNER, dataset_id, uris(5, "later"), MANY)
    catalog.add_labels(OWNER, dataset_id, {"later-0.jpg": "dog", uris(10)[0]: "owl"})
    assert pool(catalog, job) == uris(10)[3:]
    assert labelled(catalog, job) == uris(10)[:3]
    later = new_job(catalog, dataset_id=dataset_id)
    assert pool(catalog, later) == [*uris(10)[6:], *uris(5, "later")[1:]]
    assert labelled(catalog, later) == [*uris(10)[:6], "later-0.jpg"]


def test_a_page_of_a_pool_is_full_although_labelled_samples_lie_between(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 50)
    catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(50)[1:48]})
    job = new_job(catalog, dataset_id=dataset_id)
    assert [sample.ordinal for sample in catalog.pool(job.id, limit=2)] == [0, 48]
    assert [sample.ordinal for sample in catalog.pool(job.id, after=48, limit=2)] == [49]
    assert catalog.pool(job.id, after=49) == []


def test_a_pool_gives_ordinal_id_uri_and_version(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    job = new_job(catalog, dataset_id=dataset_id)
    assert catalog.pool(job.id)[1] == PoolSample(1, sample_id(uris(3)[1]), uris(3)[1], "")


def test_versions_are_given_back_by_the_pool(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    job = new_job(catalog, dataset_id=dataset_id)
    catalog.set_versions(dataset_id, {2: "3-4", 0: "1-2", 99: "of nothing"})
    catalog.set_versions(dataset_id, {0: "1-3"})
    assert [sample.version for sample in catalog.pool(job.id)] == ["1-3", "", "3-4"]


def test_versions_of_an_unknown_dataset_are_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        catalog.set_versions("0" * 32, {0: "1"})


def test_a_version_that_no_database_can_hold_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest):
        catalog.set_versions(new_dataset(catalog, 1), {0: "\x00"})


def test_the_pool_of_an_unknown_job_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        catalog.pool("0" * 32)
    with pytest.raises(NotFound):
        catalog.labelled("0" * 32)
