from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alaas.errors import Conflict, InvalidRequest, NotFound
from alaas_workers.catalog import Catalog
from tests.support.catalogs import OTHER, OWNER, new_dataset, new_job, uris

BAD_TEXTS = ["", "nul\x00", "surrogate\ud800", "x" * 201]


def test_a_new_dataset_is_empty_and_knows_its_owner(catalog: Catalog) -> None:
    dataset, created = catalog.create_dataset(OWNER, "cats", tags={"site": "Oslo"})
    assert created
    assert (dataset.name, dataset.owner, dataset.modality) == ("cats", OWNER, "vision")
    assert (dataset.tags, dataset.samples, dataset.labelled) == ({"site": "Oslo"}, 0, 0)
    assert abs(datetime.now(UTC) - dataset.created) < timedelta(seconds=20)
    assert catalog.get_dataset(OWNER, dataset.id) == dataset


def test_a_name_that_exists_gives_the_same_dataset(catalog: Catalog) -> None:
    first, _ = catalog.create_dataset(OWNER, "cats")
    again, created = catalog.create_dataset(OWNER, "cats")
    assert not created
    assert again == first


def test_tags_are_added_to_those_of_an_existing_dataset(catalog: Catalog) -> None:
    catalog.create_dataset(OWNER, "cats", tags={"site": "Oslo", "year": "2024"})
    dataset, _ = catalog.create_dataset(OWNER, "cats", tags={"year": "2025", "team": "a"})
    assert dataset.tags == {"site": "Oslo", "year": "2025", "team": "a"}
    assert catalog.get_dataset(OWNER, dataset.id).tags == dataset.tags


def test_more_tags_than_a_dataset_may_have_are_refused(catalog: Catalog) -> None:
    catalog.create_dataset(OWNER, "cats", tags={f"a{number}": "x" for number in range(50)})
    with pytest.raises(InvalidRequest) as caught:
        catalog.create_dataset(OWNER, "cats", tags={"one": "more"})
    assert caught.value.field == "tags"


def test_an_existing_name_with_another_modality_is_a_conflict(catalog: Catalog) -> None:
    catalog.create_dataset(OWNER, "cats")
    with pytest.raises(Conflict) as caught:
        catalog.create_dataset(OWNER, "cats", modality="text")
    assert caught.value.field == "modality"


def test_two_owners_may_use_one_name(catalog: Catalog) -> None:
    mine, _ = catalog.create_dataset(OWNER, "cats")
    theirs, created = catalog.create_dataset(OTHER, "cats")
    assert created
    assert theirs.id != mine.id


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_a_name_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        catalog.create_dataset(OWNER, bad)
    assert caught.value.field == "name"


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_a_tag_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    for tags in ({bad: "x"}, {"x": bad}):
        with pytest.raises(InvalidRequest) as caught:
            catalog.create_dataset(OWNER, "cats", tags=tags)
        assert caught.value.field == "tags"


def test_another_owners_dataset_is_not_found(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    with pytest.raises(NotFound):
        catalog.get_dataset(OTHER, dataset_id)


@pytest.mark.parametrize("bad", ["", "nothing", "0" * 32, "0" * 31 + "\x00", "\ud800", "0" * 32 + "\n"])
def test_an_id_that_names_nothing_is_not_found(catalog: Catalog, bad: str) -> None:
    with pytest.raises(NotFound):
        catalog.get_dataset(OWNER, bad)


def test_pages_of_datasets_hold_each_of_the_owners_once_in_order(catalog: Catalog) -> None:
    names = [f"set {number}" for number in range(5)]
    for name in names:
        catalog.create_dataset(OWNER, name)
        catalog.create_dataset(OTHER, name)
    listed, after = catalog.list_datasets(OWNER, limit=2)
    while after is not None:
        page, after = catalog.list_datasets(OWNER, after, limit=2)
        listed += page
    assert [dataset.name for dataset in listed] == names
    assert {dataset.owner for dataset in listed} == {OWNER}


def test_a_full_last_page_has_no_next(catalog: Catalog) -> None:
    new_dataset(catalog, name="a")
    new_dataset(catalog, name="b")
    listed, after = catalog.list_datasets(OWNER, limit=2)
    assert len(listed) == 2
    assert after is None


def test_a_dataset_can_be_listed_by_its_name(catalog: Catalog) -> None:
    new_dataset(catalog, name="a")
    wanted = new_dataset(catalog, name="b")
    assert [dataset.id for dataset in catalog.list_datasets(OWNER, name="b")[0]] == [wanted]


def test_the_nameless_dataset_of_a_job_is_found_by_id_but_not_listed(catalog: Catalog) -> None:
    job = new_job(catalog, of=uris(3))
    assert catalog.get_dataset(OWNER, job.dataset_id).samples == 3
    assert catalog.list_datasets(OWNER) == ([], None)


@pytest.mark.parametrize("garbage", ["", "1", "x" * 32, "0" * 32, "\x00", "\ud800", "a'; DROP TABLE jobs"])
def test_a_cursor_that_no_list_gave_is_refused(catalog: Catalog, garbage: str) -> None:
    new_dataset(catalog)
    with pytest.raises(InvalidRequest) as caught:
        catalog.list_datasets(OWNER, after=garbage)
    assert caught.value.field == "after"


def test_another_owners_cursor_is_refused(catalog: Catalog) -> None:
    theirs = new_dataset(catalog, owner=OTHER)
    with pytest.raises(InvalidRequest):
        catalog.list_datasets(OWNER, after=theirs)


def test_a_limit_below_one_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest) as caught:
        catalog.list_datasets(OWNER, limit=0)
    assert caught.value.field == "limit"
