from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from hashlib import blake2b

import pytest

from alaas.errors import InvalidRequest, NotFound, TooLarge
from alaas_workers.catalog import Catalog, sample_id, samples
from tests.support.catalogs import MANY, OTHER, OWNER, new_dataset, new_job, uris

BATCH = 200


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH", BATCH)


def listed(catalog: Catalog, dataset_id: str, limit: int = 3, labelled: bool | None = None) -> list[str]:
    items, after = catalog.list_samples(OWNER, dataset_id, limit=limit, labelled=labelled)
    while after is not None:
        page, after = catalog.list_samples(OWNER, dataset_id, after, limit, labelled)
        items += page
    return [item.uri for item in items]


def duplicates(catalog: Catalog, dataset_id: str) -> int:
    return new_job(catalog, dataset_id=dataset_id).duplicates


def test_samples_keep_the_order_in_which_they_came(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    catalog.add_samples(OWNER, dataset_id, ["c", "a"], MANY)
    catalog.add_samples(OWNER, dataset_id, ["b", "ü"], MANY)
    assert listed(catalog, dataset_id) == ["c", "a", "b", "ü"]
    assert catalog.get_dataset(OWNER, dataset_id).samples == 4


def test_a_samples_id_is_the_digest_of_its_uri_in_every_dataset(catalog: Catalog) -> None:
    expected = blake2b("file:///ü.png".encode(), digest_size=16).hexdigest()
    for name in ("a", "b"):
        dataset_id = new_dataset(catalog, name=name)
        catalog.add_samples(OWNER, dataset_id, ["file:///ü.png"], MANY)
        (sample,), _ = catalog.list_samples(OWNER, dataset_id)
        assert sample.id == expected == sample_id("file:///ü.png")


def test_a_uri_that_comes_twice_in_a_call_is_kept_once_and_counted(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    added = catalog.add_samples(OWNER, dataset_id, ["a", "b", "a", "a"], MANY)
    assert (added.received, added.added, added.duplicates) == (4, 2, 2)
    assert listed(catalog, dataset_id) == ["a", "b"]
    assert duplicates(catalog, dataset_id) == 2


def test_repetitions_are_counted_across_the_batches_of_a_call(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    many = uris(BATCH + 10)
    added = catalog.add_samples(OWNER, dataset_id, [*many, *many[:7]], MANY)
    assert (added.added, added.duplicates) == (BATCH + 10, 7)
    assert duplicates(catalog, dataset_id) == 7


def test_pushing_a_list_again_adds_and_counts_nothing(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    catalog.add_samples(OWNER, dataset_id, ["a", "b", "a"], MANY)
    again = catalog.add_samples(OWNER, dataset_id, ["a", "b", "a"], MANY)
    assert (again.received, again.added, again.duplicates) == (3, 0, 3)
    assert duplicates(catalog, dataset_id) == 1


def test_a_later_push_adds_only_what_is_new(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    added = catalog.add_samples(OWNER, dataset_id, uris(5), MANY)
    assert (added.received, added.added, added.duplicates) == (5, 2, 3)
    assert listed(catalog, dataset_id) == uris(5)


def test_an_empty_push_is_no_error(catalog: Catalog) -> None:
    added = catalog.add_samples(OWNER, new_dataset(catalog), [], MANY)
    assert (added.received, added.added, added.duplicates) == (0, 0, 0)


def test_a_push_beyond_the_largest_pool_is_too_large(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    with pytest.raises(TooLarge):
        catalog.add_samples(OWNER, dataset_id, uris(6), max_pool=5)
    assert catalog.get_dataset(OWNER, dataset_id).samples == 3


def test_a_push_up_to_the_largest_pool_is_accepted(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 3)
    assert catalog.add_samples(OWNER, dataset_id, [*uris(5), *uris(5)], max_pool=5).added == 2


def test_a_stream_that_breaks_off_can_be_sent_again(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    many = uris(BATCH + 5)

    def broken() -> Iterator[str]:
        yield from many
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        catalog.add_samples(OWNER, dataset_id, broken(), MANY)
    assert catalog.get_dataset(OWNER, dataset_id).samples == BATCH
    assert catalog.add_samples(OWNER, dataset_id, many, MANY).added == 5
    assert listed(catalog, dataset_id, 1000) == many


def test_a_stream_may_use_the_catalog_while_it_is_read(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)

    def slow() -> Iterator[str]:
        for uri in uris(3):
            catalog.create_dataset(OTHER, "meanwhile")
            yield uri

    assert catalog.add_samples(OWNER, dataset_id, slow(), MANY).added == 3


def test_memory_does_not_grow_with_the_number_of_samples(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    tracemalloc.start()
    try:
        peaks = []
        for part in range(2):
            tracemalloc.reset_peak()
            stream = (f"https://example.org/{part}/{number}" for number in range(BATCH * (1 + 9 * part)))
            catalog.add_samples(OWNER, dataset_id, stream, MANY)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.6


@pytest.mark.parametrize("bad", ["", "nul\x00", "surrogate\ud800", "x" * 4097, None, 7, b"bytes"])
def test_a_uri_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    dataset_id = new_dataset(catalog)
    with pytest.raises(InvalidRequest) as caught:
        catalog.add_samples(OWNER, dataset_id, ["a", bad], MANY)
    assert caught.value.field == "uris"


def test_the_longest_uri_comes_back_whole(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog)
    longest = "https://example.org/" + "ü" * (4096 - 20)
    catalog.add_samples(OWNER, dataset_id, [longest], MANY)
    assert listed(catalog, dataset_id) == [longest]


def test_another_owner_can_neither_add_nor_list_samples(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)
    with pytest.raises(NotFound):
        catalog.add_samples(OTHER, dataset_id, ["a"], MANY)
    with pytest.raises(NotFound):
        catalog.list_samples(OTHER, dataset_id)


def test_samples_can_be_listed_by_whether_they_have_a_label(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 10)
    catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(10)[2:8:2]})
    assert listed(catalog, dataset_id, labelled=True) == uris(10)[2:8:2]
    assert listed(catalog, dataset_id, labelled=False) == [uri for uri in uris(10) if uri not in uris(10)[2:8:2]]
    assert listed(catalog, dataset_id) == uris(10)


def test_a_page_after_a_long_run_of_labelled_samples_is_full(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 60)
    catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(60)[1:50]})
    page, after = catalog.list_samples(OWNER, dataset_id, limit=3, labelled=False)
    assert [sample.uri for sample in page] == [uris(60)[at] for at in (0, 50, 51)]
    assert after == page[-1].id


@pytest.mark.parametrize("garbage", ["", "1", "x" * 32, "0" * 32, "\x00", "\ud800"])
def test_a_cursor_that_no_list_of_samples_gave_is_refused(catalog: Catalog, garbage: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        catalog.list_samples(OWNER, new_dataset(catalog, 1), after=garbage)
    assert caught.value.field == "after"
