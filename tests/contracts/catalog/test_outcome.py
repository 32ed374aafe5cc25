from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from alaas.errors import InvalidRequest, NotFound
from alaas.jobs import JobState, Progress, Report, Stage, StageProgress
from alaas_workers.catalog import Catalog, outcome
from tests.support.catalogs import BROKEN, OTHER, OWNER, new_job, report, uris

ENDS = [state for state in JobState if state.is_terminal]


def end(catalog: Catalog, job_id: str, state: JobState) -> bool:
    made = report("a") if state is JobState.SUCCEEDED else None
    return catalog.finish(job_id, state, report=made, error=BROKEN if state is JobState.FAILED else None)


def test_only_the_first_call_starts_a_job(catalog: Catalog) -> None:
    job = new_job(catalog)
    assert catalog.mark_running(job.id)
    assert not catalog.mark_running(job.id)
    running = catalog.get_job(job.id)
    assert running.state is JobState.RUNNING
    assert running.started is not None
    assert running.started >= running.created


@pytest.mark.parametrize("state", ENDS)
def test_an_ended_job_never_starts_or_ends_again(catalog: Catalog, state: JobState) -> None:
    job = new_job(catalog)
    assert end(catalog, job.id, state)
    ended = catalog.get_job(job.id)
    assert ended.state is state
    assert ended.finished is not None
    for other in ENDS:
        assert not end(catalog, job.id, other)
    assert not catalog.mark_running(job.id)
    assert catalog.get_job(job.id) == ended


def test_the_error_of_a_failed_job_is_kept(catalog: Catalog) -> None:
    job = new_job(catalog)
    end(catalog, job.id, JobState.FAILED)
    assert catalog.get_job(job.id).error == BROKEN


def test_of_many_that_end_a_job_at_once_one_wins(catalog: Catalog) -> None:
    job = new_job(catalog)
    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(lambda number: end(catalog, job.id, ENDS[number % 3]), range(6)))
    assert won.count(True) == 1
    assert catalog.get_job(job.id).state is ENDS[won.index(True) % 3]


def test_a_report_comes_back_byte_for_byte(catalog: Catalog) -> None:
    job = new_job(catalog)
    made = report(*uris(500))
    catalog.finish(job.id, JobState.SUCCEEDED, report=made)
    body = catalog.report(job.id)
    assert body == catalog.report(job.id, OWNER) == made.model_dump_json().encode()
    assert Report.model_validate_json(body) == made


def test_only_the_winners_report_is_kept(catalog: Catalog) -> None:
    job = new_job(catalog)
    catalog.finish(job.id, JobState.SUCCEEDED, report=report("a"))
    catalog.finish(job.id, JobState.SUCCEEDED, report=report("b"))
    assert catalog.report(job.id) == report("a").model_dump_json().encode()


def test_there_is_no_report_until_the_job_succeeded(catalog: Catalog) -> None:
    job = new_job(catalog)
    with pytest.raises(NotFound):
        catalog.report(job.id)
    catalog.finish(job.id, JobState.CANCELLED)
    with pytest.raises(NotFound):
        catalog.report(job.id)


def test_another_owners_report_is_not_found(catalog: Catalog) -> None:
    job = new_job(catalog)
    end(catalog, job.id, JobState.SUCCEEDED)
    for job_id, owner in ((job.id, OTHER), ("0" * 32, None), ("\x00", None)):
        with pytest.raises(NotFound):
            catalog.report(job_id, owner)


def test_an_unknown_job_can_be_neither_started_nor_ended_nor_moved(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        catalog.mark_running("0" * 32)
    with pytest.raises(NotFound):
        catalog.finish("0" * 32, JobState.CANCELLED)
    with pytest.raises(NotFound):
        catalog.save_progress("0" * 32, Progress())


def test_an_end_that_contradicts_itself_is_a_programming_error(catalog: Catalog) -> None:
    job = new_job(catalog)
    for state, made in ((JobState.RUNNING, None), (JobState.SUCCEEDED, None), (JobState.CANCELLED, report("a"))):
        with pytest.raises(ValueError):
            catalog.finish(job.id, state, report=made)
    with pytest.raises(ValueError):
        catalog.finish(job.id, JobState.FAILED)
    assert catalog.get_job(job.id).state is JobState.QUEUED


def test_an_error_that_is_not_unicode_is_refused(catalog: Catalog) -> None:
    job = new_job(catalog)
    with pytest.raises(InvalidRequest):
        catalog.finish(job.id, JobState.FAILED, error=BROKEN.model_copy(update={"detail": "\ud800"}))
    assert catalog.get_job(job.id).state is JobState.QUEUED


def at(total: int, cached: int, failed: int, **done: int) -> Progress:
    stages = {Stage(name): StageProgress(done=count, total=total) for name, count in done.items()}
    return Progress(total=total, cached=cached, failed=failed, stages=stages)


def test_progress_is_the_largest_of_each_number_that_was_saved(catalog: Catalog) -> None:
    job = new_job(catalog)
    catalog.save_progress(job.id, at(10, 3, 0, download=5, preprocess=4))
    catalog.save_progress(job.id, at(10, 2, 1, download=6, preprocess=1, selection=1))
    assert catalog.get_job(job.id).progress == at(10, 3, 1, download=6, preprocess=4, selection=1)


def test_writers_at_the_same_time_lose_no_progress(catalog: Catalog) -> None:
    job = new_job(catalog)
    stages = [Stage.DOWNLOAD, Stage.PREPROCESS, Stage.INFERENCE, Stage.SELECTION]

    def save(number: int) -> None:
        done = {stages[number % 4].value: number}
        catalog.save_progress(job.id, at(40, number if number % 4 == 1 else 0, 0, **done))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(save, range(40)))
    assert catalog.get_job(job.id).progress == at(40, 37, 0, download=36, preprocess=37, inference=38, selection=39)


def test_the_wire_type_never_shows_less_progress_than_was_saved(catalog: Catalog) -> None:
    job = new_job(catalog)
    catalog.save_progress(job.id, at(10, 3, 0, download=5))
    record = catalog.get_job(job.id)
    assert record.to_job().progress == at(10, 3, 0, download=5)
    catalog.save_progress(job.id, at(10, 0, 1, download=4, preprocess=2))
    shown = catalog.get_job(job.id).to_job()
    assert shown.progress == at(10, 3, 1, download=5, preprocess=2)
    assert (shown.id, shown.state, shown.dataset_id) == (job.id, JobState.QUEUED, job.dataset_id)


def test_a_loss_in_the_middle_of_ending_keeps_state_and_report_together(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(catalog)
    with monkeypatch.context() as patch:
        patch.setattr(outcome, "insert", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            end(catalog, job.id, JobState.SUCCEEDED)
    assert catalog.get_job(job.id).state is JobState.QUEUED
    assert end(catalog, job.id, JobState.SUCCEEDED)
