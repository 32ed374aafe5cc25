"""The dispatcher over a real catalog, ledger and cache: which jobs it opens, whose turn it is, and what ends a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import update

from alaas.errors import Unavailable
from alaas.jobs import Feature, JobRequest, JobState, Listing, ModelCard, Problem, Stage
from alaas_workers import dispatcher as dispatcher_module
from alaas_workers.cache import Cache
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.catalog.tables import jobs as jobs_table
from alaas_workers.dispatcher import Dispatcher
from alaas_workers.ledger import JobLedger, Lease, Ledger, Outcome, Unit
from alaas_workers.model_cards import ModelCards
from tests.support.catalogs import OWNER, new_dataset, new_job
from tests.support.ledger import Notebook, Versions, claimed, config_for, left_over, let_run_out, the_job

CARD = ModelCard(
    name="small", modality="vision", fingerprint="f1", transform="t1", classes=3, embedding_size=2,
    outputs=[Feature.PROBABILITIES, Feature.EMBEDDINGS],
)  # fmt: skip
KEPT = {"alaas:models", "alaas:workers"}


class Desk:
    """A dispatcher and everything that it reads and writes."""

    def __init__(self, catalog: Catalog, url: str, **pipeline: Any) -> None:
        settings = {"chunk_size": 2, "window": 4} | pipeline
        self.config = config_for(url, pipeline=settings, models={"small": {"source": "null"}})
        self.catalog, self.hints = catalog, Notebook()
        self.ledger, self.cache = Ledger.open(self.config), Cache.open(self.config)
        self.cards = ModelCards.open(self.config)
        self.dispatcher = self.another()

    def another(self) -> Dispatcher:
        return Dispatcher(
            self.config, ledger=self.ledger, catalog=self.catalog, cache=self.cache, cards=self.cards,
            sources=Versions(), hints=self.hints,
        )  # fmt: skip

    def job(self, count: int = 4, *, dataset_id: str | None = None, **more: Any) -> JobRecord:
        dataset_id = dataset_id or new_dataset(self.catalog, count, name=f"{time.monotonic_ns()}")
        return new_job(self.catalog, dataset_id=dataset_id, **{"model": "small"} | more)

    def turn(self) -> list[Unit]:
        """Reconcile and admit once; what was hinted."""
        self.dispatcher.reconcile()
        self.dispatcher.admit()
        return self.hints.taken()

    def state(self, record: JobRecord) -> JobState:
        return self.catalog.get_job(record.id).state

    def error(self, record: JobRecord) -> Problem:
        error = self.catalog.get_job(record.id).error
        assert error is not None
        return error

    def download(self, unit: Unit, size_bytes: int = 0) -> Unit:
        lease = self.lease(unit)
        hint = self.ledger.done(lease, Stage.PREPROCESS, Outcome(len(lease.samples), [], size_bytes), 0.1)[1]
        assert hint is not None
        return hint

    def lease(self, unit: Unit) -> Lease:
        return claimed(self.ledger, unit, f"token of {unit}")

    def end(self, unit: Unit) -> None:
        """The chunk or the selection ends here and now."""
        self.ledger.done(self.lease(unit), None, Outcome(0), 0.1)


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.sqlite'}") as catalog:
        yield catalog


@pytest.fixture
def desk(catalog: Catalog, redis_url: str) -> Desk:
    desk = Desk(catalog, redis_url)
    desk.cards.publish(CARD)
    return desk


# Opening


def test_an_accepted_job_is_opened_and_its_first_chunks_are_hinted(desk: Desk) -> None:
    record = desk.job(4)
    assert desk.turn() == [Unit(record.id, Stage.DOWNLOAD, "0"), Unit(record.id, Stage.DOWNLOAD, "1")]
    assert desk.state(record) is JobState.RUNNING
    assert the_job(desk.ledger, record.id).spec.fingerprint == "f1"


def test_nothing_happens_twice_when_nothing_changed(desk: Desk) -> None:
    desk.job(4)
    desk.turn()
    assert desk.turn() == []


def test_two_dispatchers_share_the_work_without_doing_any_twice(desk: Desk) -> None:
    record, other = desk.job(8), desk.another()
    for dispatcher in (desk.dispatcher, other) * 3:
        dispatcher.reconcile()
        dispatcher.admit()
    assert sorted(unit.chunk for unit in desk.hints.taken()) == ["0", "1", "2", "3"]
    assert desk.state(record) is JobState.RUNNING


def test_a_model_that_nobody_loaded_yet_is_asked_for_once(catalog: Catalog, redis_url: str) -> None:
    desk = Desk(catalog, redis_url)
    record = desk.job(4)
    assert desk.turn() == desk.turn() == []
    assert desk.hints.described == ["small"]
    assert desk.state(record) is JobState.QUEUED
    desk.cards.publish(CARD)
    assert len(desk.turn()) == 2


def test_a_model_is_asked_for_again_when_the_question_was_lost(
    catalog: Catalog, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "_DESCRIBE_AGAIN_S", 0.0)
    desk = Desk(catalog, redis_url)
    desk.job(4)
    desk.turn()
    desk.turn()
    assert desk.hints.described == ["small", "small"]


def test_a_model_that_cannot_be_loaded_fails_the_job(desk: Desk) -> None:
    desk.cards.publish(ModelCard(name="small", modality="vision", error="no such weights"))
    record = desk.job(4)
    desk.turn()
    assert (desk.error(record).code, "no such weights" in desk.error(record).detail) == ("model_error", True)


def test_a_model_that_the_configuration_dropped_fails_the_job(desk: Desk) -> None:
    record = desk.job(4, model="gone")
    desk.turn()
    assert desk.error(record).field == "model"


def test_a_strategy_that_needs_what_the_model_does_not_give_fails_the_job(desk: Desk) -> None:
    desk.cards.publish(CARD.model_copy(update={"outputs": [Feature.PROBABILITIES]}))
    record = desk.job(4, strategy={"type": "KCenterSampling"})
    desk.turn()
    assert desk.error(record).field == "strategy"


def test_a_pool_above_the_strategys_cap_fails_before_it_is_scanned(desk: Desk) -> None:
    desk.cards.publish(CARD)
    job = desk.job(strategy={"type": "CoreSet", "max_pool": 3})
    assert desk.turn() == []
    error = desk.catalog.get_job(job.id).error
    assert error is not None and (error.code, error.field) == ("strategy_error", "strategy.max_pool")


def test_a_scan_keeps_what_the_model_gives(desk: Desk) -> None:
    desk.cards.publish(CARD.model_copy(update={"outputs": [Feature.PROBABILITIES]}))
    record = desk.job(4, kind="scan", strategy=None, budget=None)
    desk.turn()
    assert the_job(desk.ledger, record.id).spec.features == (Feature.PROBABILITIES,)


def test_a_query_whose_features_do_not_fit_into_the_cache_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.cache, "room_bytes", lambda: 300)
    record = desk.job(4)
    desk.turn()
    assert desk.error(record).code == "cache_too_small"


def test_a_scan_ahead_keeps_as_much_as_fits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.cache, "room_bytes", lambda: 1000)
    record = desk.job(4, kind="scan", strategy=None, budget=None)
    desk.turn()
    assert len(the_job(desk.ledger, record.id).spec.features) == 1


def test_a_job_whose_start_could_not_be_written_down_is_running_in_the_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = desk.job(4)

    def away(job_id: str) -> bool:
        raise Unavailable("")

    with monkeypatch.context() as patched:
        patched.setattr(desk.catalog, "mark_running", away)
        with pytest.raises(Unavailable):
            desk.dispatcher.reconcile()
    assert desk.state(record) is JobState.QUEUED
    desk.turn()
    assert desk.state(record) is JobState.RUNNING


# Turns and room


def test_two_jobs_admit_by_turns(desk: Desk) -> None:
    one, two = desk.job(40), desk.job(40)
    assert [unit.job for unit in desk.turn()] == [one.id, two.id, one.id, two.id]


def test_a_small_job_does_not_wait_for_the_end_of_a_large_one(desk: Desk) -> None:
    desk.job(400)
    waiting = desk.turn()
    small = desk.job(2)
    desk.download(waiting[0])
    desk.end(waiting[1])
    assert small.id in [unit.job for unit in desk.turn()]


def test_no_more_chunks_wait_at_a_stage_than_the_window_allows(desk: Desk) -> None:
    desk.job(400)
    assert len(desk.turn()) == 4
    assert desk.turn() == []


def test_a_chunk_that_was_taken_makes_room(desk: Desk) -> None:
    desk.job(400)
    desk.lease(desk.turn()[0])
    assert len(desk.turn()) == 1


def test_a_later_stage_that_is_behind_holds_admission_up(desk: Desk) -> None:
    desk.job(400)
    for unit in desk.turn():
        desk.download(unit)
    assert desk.turn() == []


@pytest.fixture
def tight(catalog: Catalog, redis_url: str) -> Desk:
    """A mebibyte in flight, and chunks of which it holds three."""
    desk = Desk(catalog, redis_url, in_flight_bytes=2**20, window=100)
    desk.cards.publish(CARD)
    return desk


def test_bytes_between_the_stages_stay_within_their_budget(tight: Desk) -> None:
    tight.job(
        400,
    )
    tight.ledger._redis.hset("alaas:metrics", mapping={"bytes:download": 300_000, "chunks:download": 1})
    todo = tight.turn()
    for _ in range(30):
        held = [unit for unit in tight.ledger.open_units()[0]]
        assert 0 < len(held) <= 3
        assert tight.ledger.bytes_in_flight() <= 2**20
        unit = todo.pop(0)
        todo += [tight.download(unit, 300_000)] if unit.stage is Stage.DOWNLOAD else []
        if unit.stage is Stage.PREPROCESS:
            tight.end(unit)
        todo += tight.turn()


def test_a_chunk_larger_than_the_budget_goes_alone(tight: Desk) -> None:
    tight.job(400)
    tight.ledger._redis.hset("alaas:metrics", mapping={"bytes:download": 9_000_000, "chunks:download": 1})
    (unit,) = tight.turn()
    assert tight.turn() == []
    tight.end(unit)
    assert len(tight.turn()) == 1


def test_of_jobs_over_one_pool_one_is_scanned_and_the_next_finds_its_features(desk: Desk) -> None:
    dataset_id = new_dataset(desk.catalog, 4)
    first, second = desk.job(dataset_id=dataset_id), desk.job(dataset_id=dataset_id)
    units = desk.turn()
    assert {unit.job for unit in units} == {first.id}
    for unit in units:
        desk.end(unit)
    desk.end(Unit(first.id, Stage.SELECTION, "all"))
    desk.catalog.finish(first.id, JobState.CANCELLED)
    assert {unit.job for unit in desk.turn()} == {second.id}


def test_a_job_that_needs_no_features_waits_for_nobody(desk: Desk) -> None:
    dataset_id = new_dataset(desk.catalog, 4)
    desk.job(dataset_id=dataset_id)
    quick = desk.job(dataset_id=dataset_id, strategy={"type": "RandomSampling"})
    assert Unit(quick.id, Stage.SELECTION, "all") in desk.turn()


# Ends


def test_a_job_that_ended_in_the_catalog_leaves_nothing_in_the_ledger(desk: Desk, client: redis.Redis) -> None:
    record = desk.job(4)
    desk.lease(desk.turn()[0])
    desk.catalog.finish(record.id, JobState.CANCELLED)
    desk.turn()
    assert left_over(client) <= KEPT
    assert desk.dispatcher._planner._looks == {}


def test_a_cancelled_job_is_not_opened_again(desk: Desk) -> None:
    record = desk.job(4)
    desk.turn()
    desk.catalog.finish(record.id, JobState.CANCELLED)
    desk.ledger.cancel(record.id)
    assert desk.turn() == []
    assert desk.ledger.jobs() == []


def test_a_job_past_its_deadline_fails_and_is_forgotten(desk: Desk, client: redis.Redis) -> None:
    record = desk.job(4, deadline_s=60.0)
    desk.turn()
    with desk.catalog._database.write() as connection:
        connection.execute(update(jobs_table).values(created=datetime.now(UTC) - timedelta(seconds=61)))
    desk.turn()
    assert desk.error(record).code == "deadline_exceeded"
    assert left_over(client) <= KEPT


def test_a_job_within_its_deadline_goes_on(desk: Desk) -> None:
    record = desk.job(4, deadline_s=60.0)
    desk.turn()
    assert desk.state(record) is JobState.RUNNING


def test_what_the_ledger_says_failed_is_written_down_and_forgotten(desk: Desk, client: redis.Redis) -> None:
    record = desk.job(4)
    desk.turn()
    problem = Problem(title="t", status=500, code="selection_crashed", detail="d")
    desk.ledger.fail(record.id, problem)
    desk.turn()
    assert desk.error(record) == problem
    assert left_over(client) <= KEPT


def test_a_job_that_ended_while_a_dispatcher_slept_stays_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It read the catalog, slept, and opens a job that was over meanwhile: its next look puts that right."""
    record = desk.job(4)
    stale = [desk.catalog.get_job(record.id)]
    desk.catalog.finish(record.id, JobState.CANCELLED)
    with monkeypatch.context() as patched:
        patched.setattr(desk.catalog, "open_jobs", lambda: stale)
        desk.turn()
    desk.turn()
    assert desk.ledger.jobs() == []
    assert desk.state(record) is JobState.CANCELLED


# Trouble


def test_a_ledger_that_lost_everything_gets_its_jobs_again(desk: Desk, client: redis.Redis) -> None:
    record = desk.job(4)
    before = desk.turn()
    client.flushall()
    desk.cards.publish(CARD)
    assert desk.turn() == before
    assert desk.state(record) is JobState.RUNNING


def test_other_weights_start_the_job_anew(desk: Desk) -> None:
    record = desk.job(4)
    held = desk.lease(desk.turn()[0])
    desk.cards.publish(CARD.model_copy(update={"fingerprint": "f2"}))
    assert len(desk.turn()) == 2
    assert the_job(desk.ledger, record.id).spec.fingerprint == "f2"
    assert not desk.ledger.beat(held)


@pytest.fixture
def troubled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> JobRecord:
    """A job at which planning breaks, older than every other."""
    record, works = desk.job(400), desk.dispatcher._planner.next_chunk

    def breaks(job: JobLedger) -> tuple[JobLedger, list[Unit]]:
        if job.id == record.id:
            raise RuntimeError("a bug")
        return works(job)

    monkeypatch.setattr(desk.dispatcher._planner, "next_chunk", breaks)
    return record


def test_one_jobs_trouble_does_not_stop_the_others(desk: Desk, troubled: JobRecord) -> None:
    other = desk.job(4)
    assert {unit.job for unit in desk.turn() + desk.turn()} == {other.id}


def test_a_job_whose_trouble_does_not_end_fails(desk: Desk, troubled: JobRecord) -> None:
    for _ in range(25):
        desk.turn()
    assert desk.error(troubled).code == "internal"
    assert desk.ledger.jobs() == []
    assert desk.dispatcher._troubles == {}


def test_a_job_that_cannot_be_opened_does_not_keep_others_from_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.job(4, strategy={"type": "NoSuchStrategy"})
    other = desk.job(4)
    assert {unit.job for unit in desk.turn()} == {other.id}


def test_leases_come_back_while_the_catalog_is_away(
    desk: Desk, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.job(4)
    unit = desk.turn()[0]
    desk.lease(unit)
    let_run_out(client, unit)

    def away() -> list[JobRecord]:
        raise Unavailable("")

    monkeypatch.setattr(desk.catalog, "open_jobs", away)
    with pytest.raises(Unavailable):
        desk.dispatcher.tick()
    assert desk.hints.taken() == [unit]


def test_jobs_begin_and_end_while_the_broker_cannot_say_what_waits(
    desk: Desk, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.job(4)
    let_run_out(client, *desk.turn())
    record = desk.job(4)

    def away() -> dict[Stage, int]:
        raise ConnectionError

    monkeypatch.setattr(desk.hints, "waiting", away)
    desk.dispatcher._reconcile_due.last_s = float("-inf")
    with pytest.raises(ConnectionError):
        desk.dispatcher.tick()
    assert desk.state(record) is JobState.RUNNING


def test_progress_goes_into_the_catalog_and_never_back(desk: Desk, client: redis.Redis) -> None:
    record = desk.job(8)
    for unit in desk.turn()[:3]:
        desk.download(unit)
    desk.dispatcher.save_progress()
    client.flushall()
    desk.cards.publish(CARD)
    desk.turn()
    desk.dispatcher.save_progress()
    assert desk.catalog.get_job(record.id).progress.stages[Stage.DOWNLOAD].done == 6


def test_the_loop_takes_up_a_new_job_goes_on_after_errors_and_stops_when_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, calls = desk.catalog.open_jobs, []

    def breaks_at_first() -> list[JobRecord]:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return works()

    monkeypatch.setattr(desk.catalog, "open_jobs", breaks_at_first)
    stop = threading.Event()
    loop = threading.Thread(target=desk.dispatcher.run, args=(stop,))
    loop.start()
    record = desk.job(4)
    desk.ledger.submit(record.id)
    deadline = time.monotonic() + 10
    while len(desk.hints.sent) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert desk.ledger.workers() == {"dispatcher": 1}
    stop.set()
    loop.join(5)
    assert not loop.is_alive()
    assert [unit.job for unit in desk.hints.sent] == [record.id] * 2
    assert desk.ledger.workers() == {}


def test_datasets_of_two_owners_are_planned_apart(desk: Desk) -> None:
    one = desk.job(2)
    other = new_job(desk.catalog, dataset_id=new_dataset(desk.catalog, 2, owner="eve"), owner="eve", model="small")
    assert {unit.job for unit in desk.turn()} == {one.id, other.id}
    assert [the_job(desk.ledger, record.id).spec.owner for record in (one, other)] == [OWNER, "eve"]


def an_import(desk: Desk, owner: str) -> JobRecord:
    dataset, _ = desk.catalog.create_dataset(owner, f"{time.monotonic_ns()}")
    asked = JobRequest(kind="import", dataset_id=dataset.id, listing=Listing(uri="file:///pool/"))
    return desk.catalog.create_job(owner, asked, model="", strategy=None, max_active=100)[0]


def test_an_import_is_one_unit_of_the_selection_and_needs_no_model(desk: Desk) -> None:
    record = an_import(desk, OWNER)
    assert desk.turn() == [Unit(record.id, Stage.SELECTION, "all")]
    assert desk.state(record) is JobState.RUNNING
    assert desk.turn() == []


def test_owners_take_turns_at_imports_and_one_place_is_left_for_selections(desk: Desk) -> None:
    mine = [an_import(desk, OWNER) for _ in range(3)]
    theirs = an_import(desk, "another")
    begun = []
    while units := desk.turn():
        assert len(units) == 1
        begun.append(units[0].job)
        desk.end(units[0])
        desk.catalog.finish(units[0].job, JobState.CANCELLED)
    assert begun == [mine[0].id, theirs.id, mine[1].id, mine[2].id]


def test_an_import_that_loses_its_worker_again_and_again_fails_as_an_import(desk: Desk, client: redis.Redis) -> None:
    record = an_import(desk, OWNER)
    (unit,) = desk.turn()
    for attempt in range(desk.config.pipeline.max_attempts):
        claimed(desk.ledger, unit, f"lost {attempt}")
        let_run_out(client, unit)
    desk.dispatcher._sweeper.sweep()
    desk.turn()
    assert (desk.state(record), desk.error(record).code) == (JobState.FAILED, "import_crashed")
