from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alaas.errors import Conflict, InvalidRequest, NotFound, TooManyRequests
from alaas.jobs import JobRequest, JobState, Progress
from alaas_workers.catalog import Catalog, submission
from alaas_workers.catalog.tables import datasets
from tests.support.catalogs import BROKEN, OTHER, OWNER, new_dataset, new_job, submit, uris


def nameless(catalog: Catalog) -> int:
    """Nameless datasets in the database."""
    with catalog._database.read() as connection:
        return len(connection.execute(datasets.select().where(datasets.c.name.is_(None))).all())


def test_a_job_keeps_all_of_its_request(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 5)
    job, created = submit(
        catalog, dataset_id=dataset_id, budget=3, seed=2**63 - 1, deadline_s=2.5, strategy={"type": "X", "k": [1, "ü"]}
    )
    assert created
    assert (job.owner, job.kind, job.dataset_id, job.model) == (OWNER, "query", dataset_id, "resnet18")
    assert (job.budget, job.seed, job.deadline_s) == (3, 2**63 - 1, 2.5)
    assert job.strategy == {"type": "X", "k": [1, "ü"]}
    assert (job.state, job.started, job.finished, job.error) == (JobState.QUEUED, None, None, None)
    assert job.progress == Progress()
    assert abs(datetime.now(UTC) - job.created) < timedelta(seconds=20)
    assert catalog.get_job(job.id) == catalog.get_job(job.id, OWNER) == job


def test_a_committee_is_kept_in_the_order_in_which_it_was_named(catalog: Catalog) -> None:
    job = new_job(catalog, model=["b", "a", "c"])
    assert (job.model, job.models) == (["b", "a", "c"], ["b", "a", "c"])
    assert catalog.get_job(job.id).to_job().model == ["b", "a", "c"]
    assert new_job(catalog, model="a").models == ["a"]


def test_a_list_of_uris_becomes_a_pool_without_its_duplicates(catalog: Catalog) -> None:
    job = new_job(catalog, of=["b", "a", "b"], budget=2)
    assert [sample.uri for sample in catalog.pool(job.id)] == ["b", "a"]
    assert (job.pool_size, job.unlabelled, job.duplicates) == (2, 2, 1)


def test_a_scan_needs_no_budget_and_no_strategy(catalog: Catalog) -> None:
    job = new_job(catalog, dataset_id=new_dataset(catalog, 2), kind="scan", budget=None, strategy=None)
    assert (job.kind, job.budget, job.strategy) == ("scan", None, None)


def test_a_query_without_a_budget_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest) as caught:
        submit(catalog, of=uris(2), budget=None)
    assert caught.value.field == "budget"


def test_a_budget_above_the_unlabelled_samples_is_refused(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 5)
    catalog.add_labels(OWNER, dataset_id, {uris(5)[0]: "cat"})
    with pytest.raises(InvalidRequest) as caught:
        submit(catalog, dataset_id=dataset_id, budget=5)
    assert caught.value.field == "budget"
    assert submit(catalog, dataset_id=dataset_id, budget=4)[1]


def test_a_budget_above_the_distinct_uris_is_refused_and_leaves_nothing(catalog: Catalog) -> None:
    for budget in (3, 2**80):
        with pytest.raises(InvalidRequest) as caught:
            submit(catalog, of=["a", "b", "a"], budget=budget)
        assert caught.value.field == "budget"
    assert nameless(catalog) == 0


def test_an_empty_dataset_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest) as caught:
        submit(catalog, dataset_id=new_dataset(catalog))
    assert caught.value.field == "dataset_id"


def test_a_dataset_that_is_all_labelled_can_be_scanned_and_not_chosen_from(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)
    catalog.add_labels(OWNER, dataset_id, {uris(1)[0]: "cat"})
    job, _ = submit(catalog, dataset_id=dataset_id, kind="scan", budget=None)
    assert job.unlabelled == 0
    with pytest.raises(InvalidRequest) as caught:
        submit(catalog, dataset_id=dataset_id)
    assert caught.value.field == "dataset_id"


def test_an_empty_list_of_uris_is_refused(catalog: Catalog) -> None:
    request = JobRequest.model_construct(kind="scan", uris=[], dataset_id=None, budget=None, seed=0)
    with pytest.raises(InvalidRequest) as caught:
        catalog.create_job(OWNER, request, model="m", strategy=None, max_active=1)
    assert caught.value.field == "uris"


def test_either_a_dataset_or_uris_must_be_given(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest):
        submit(catalog)
    with pytest.raises(InvalidRequest):
        submit(catalog, of=uris(1), dataset_id=new_dataset(catalog, 1))


def test_an_unknown_dataset_or_another_owners_is_not_found(catalog: Catalog) -> None:
    for dataset_id in ("0" * 32, "x\x00", new_dataset(catalog, 1, owner=OTHER)):
        with pytest.raises(NotFound):
            submit(catalog, dataset_id=dataset_id)


@pytest.mark.parametrize("bad", ["nul\x00", "surrogate\ud800"])
def test_texts_that_no_database_can_hold_are_refused(catalog: Catalog, bad: str) -> None:
    for arguments in ({"of": [bad]}, {"model": bad}, {"owner": bad}, {"idempotency_key": bad}):
        with pytest.raises(InvalidRequest):
            submit(catalog, **{"of": uris(1)} | arguments)
    assert nameless(catalog) == 0


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": "\ud800"}, {"x": {1, 2}}])
def test_a_strategy_that_is_not_plain_data_is_refused(catalog: Catalog, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        submit(catalog, of=uris(1), strategy=bad)
    assert caught.value.field == "strategy"
    assert nameless(catalog) == 0


def test_one_job_too_many_is_refused_until_one_ends(catalog: Catalog) -> None:
    first = new_job(catalog, max_active=2)
    new_job(catalog, max_active=2)
    catalog.mark_running(first.id)
    with pytest.raises(TooManyRequests):
        new_job(catalog, max_active=2)
    with pytest.raises(TooManyRequests):
        new_job(catalog, dataset_id=new_dataset(catalog, 1), max_active=2)
    assert new_job(catalog, owner=OTHER, max_active=2)
    catalog.finish(first.id, JobState.CANCELLED)
    assert new_job(catalog, max_active=2)


def test_a_key_gives_the_job_of_its_first_request(catalog: Catalog) -> None:
    key: dict[str, Any] = {"idempotency_key": "k" * 255, "request_digest": "d"}
    job, _ = submit(catalog, of=uris(2), **key)
    catalog.mark_running(job.id)
    again, created = submit(catalog, of=uris(2), max_active=1, **key)
    assert not created
    assert again == catalog.get_job(job.id)
    assert nameless(catalog) == 1


def test_a_key_of_a_job_on_a_dataset_gives_that_job(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 2)
    job, _ = submit(catalog, dataset_id=dataset_id, idempotency_key="k", request_digest="d")
    assert submit(catalog, dataset_id=dataset_id, idempotency_key="k", request_digest="d") == (job, False)


def test_a_key_with_another_request_is_a_conflict(catalog: Catalog) -> None:
    submit(catalog, of=uris(2), idempotency_key="k", request_digest="d")
    with pytest.raises(Conflict):
        submit(catalog, of=uris(3), idempotency_key="k", request_digest="e")


def test_two_owners_may_use_one_key(catalog: Catalog) -> None:
    mine, _ = submit(catalog, of=uris(1), idempotency_key="k", request_digest="d")
    theirs, created = submit(catalog, owner=OTHER, of=uris(1), idempotency_key="k", request_digest="e")
    assert created
    assert theirs.id != mine.id


def test_jobs_without_a_key_are_all_new(catalog: Catalog) -> None:
    assert new_job(catalog).id != new_job(catalog).id


def test_a_key_that_is_too_long_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest):
        submit(catalog, of=uris(1), idempotency_key="k" * 256)


def test_another_owners_job_is_not_found(catalog: Catalog) -> None:
    job = new_job(catalog)
    for job_id, owner in ((job.id, OTHER), ("0" * 32, None), ("\x00", None), ("\ud800", OWNER)):
        with pytest.raises(NotFound):
            catalog.get_job(job_id, owner)


def test_pages_of_jobs_hold_each_of_the_owners_once_newest_first(catalog: Catalog) -> None:
    made = [new_job(catalog).id for _ in range(5)]
    new_job(catalog, owner=OTHER)
    listed, after = catalog.list_jobs(OWNER, None, 2)
    while after is not None:
        page, after = catalog.list_jobs(OWNER, after, 2)
        listed += page
    assert [job.id for job in listed] == made[::-1]


def test_jobs_can_be_listed_by_state(catalog: Catalog) -> None:
    first, second = new_job(catalog), new_job(catalog)
    catalog.mark_running(first.id)
    assert [job.id for job in catalog.list_jobs(OWNER, state=JobState.RUNNING)[0]] == [first.id]
    assert [job.id for job in catalog.list_jobs(OWNER, state=JobState.QUEUED)[0]] == [second.id]


@pytest.mark.parametrize("garbage", ["", "1", "x" * 32, "0" * 32, "\x00", "\ud800"])
def test_a_cursor_that_no_list_of_jobs_gave_is_refused(catalog: Catalog, garbage: str) -> None:
    new_job(catalog)
    with pytest.raises(InvalidRequest) as caught:
        catalog.list_jobs(OWNER, after=garbage)
    assert caught.value.field == "after"


def test_open_jobs_are_those_of_all_owners_that_have_not_ended_oldest_first(catalog: Catalog) -> None:
    jobs = [new_job(catalog, owner=owner) for owner in (OWNER, OTHER, OWNER)]
    catalog.mark_running(jobs[0].id)
    catalog.finish(jobs[2].id, JobState.FAILED, error=BROKEN)
    assert [job.id for job in catalog.open_jobs()] == [jobs[0].id, jobs[1].id]


def test_every_state_is_counted(catalog: Catalog) -> None:
    jobs = [new_job(catalog) for _ in range(3)]
    catalog.mark_running(jobs[0].id)
    catalog.finish(jobs[1].id, JobState.CANCELLED)
    assert catalog.job_states() == {"queued": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 1}


def test_a_list_whose_process_died_before_the_job_is_removed_at_a_later_start(
    catalog: Catalog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = new_job(catalog, of=uris(4))
    submission._store_uris(catalog._database, OWNER, uris(5), "vision")
    monkeypatch.setattr(submission, "ABANDONED", timedelta(0))
    Catalog.open(url).close()
    assert nameless(catalog) == 1
    assert len(catalog.pool(kept.id)) == 4
