"""The ledger against a model of it in plain Python: any order of calls, late, repeated, by whoever lost its lease."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from alaas.errors import SampleCode
from alaas.jobs import SCAN_STAGES, Problem, Progress, Stage
from alaas_workers import keys
from alaas_workers.ledger import FailedAt, JobLedger, Lease, Ledger, Outcome, Unit
from alaas_workers.ledger.ledger import SELECTION_CHUNK
from alaas_workers.pipeline import FOLLOWS
from tests.support.ledger import SPEC, config_for, contents, left_over, let_run_out, samples, the_job

T = TypeVar("T")
JOBS = ("one", "two")
PROBLEM = Problem(title="t", status=500, code="c", detail="d")


@dataclass
class Piece:
    """An open unit: a chunk at its stage, or the selection."""

    ordinals: tuple[int, ...]
    stage: Stage
    holder: str | None = None
    is_overdue: bool = False
    attempts: int = 0
    returns: int = 0
    put_off: int = 0
    size_bytes: int | None = None
    reached: int = 0  # how many stages it has passed at least once
    failed: dict[Stage, set[int]] = field(default_factory=dict)


@dataclass
class Book:
    """A job as the model has it."""

    total: int
    state: str = "planning"
    round: int = 0
    cursor: int = -1
    planned: bool = False
    next_chunk: int = 0
    cached: int = 0
    pieces: dict[str, Piece] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)  # ordinals of the chunks that ended in this round
    failed: dict[tuple[str, Stage], set[int]] = field(default_factory=dict)  # of chunks that ended, in any round
    done: list[int] = field(default_factory=lambda: [0, 0, 0])  # samples that passed each scan stage, by chunk once
    seen: Progress | None = None

    def failures(self) -> set[int]:
        parts = [*self.failed.values(), *(part for piece in self.pieces.values() for part in piece.failed.values())]
        return set().union(*parts)


class LedgerMachine(RuleBasedStateMachine):
    """Each rule makes one call, twice, and writes into the model what the call is allowed to have changed."""

    def __init__(self, client: redis.Redis, ledger: Ledger) -> None:
        super().__init__()
        client.flushall()
        self.client, self.ledger = client, ledger
        self.books: dict[str, Book] = {}
        self.leases: list[Lease] = []
        self.views: list[JobLedger] = []  # of jobs, as some dispatcher has read them at some time
        self.tokens = 0

    # Helpers.

    def once(self, call: Callable[[], T]) -> tuple[T, T]:
        """Both answers of a call that is made twice, of which the second changed nothing."""
        first = call()
        after = contents(self.client)
        second = call()
        assert contents(self.client) == after
        return first, second

    def untouched(self, call: Callable[[], T]) -> T:
        """The answer of a call that must change nothing."""
        before = contents(self.client)
        answer = call()
        assert contents(self.client) == before
        return answer

    def piece(self, unit: Unit) -> Piece | None:
        book = self.books.get(unit.job)
        piece = book.pieces.get(unit.chunk) if book else None
        return piece if piece is not None and piece.stage is unit.stage else None

    def held(self, lease: Lease) -> Piece | None:
        piece = self.piece(lease.unit)
        return piece if piece is not None and piece.holder == lease.token else None

    def units(self) -> list[Unit]:
        return [
            Unit(job, piece.stage, chunk) for job, book in self.books.items() for chunk, piece in book.pieces.items()
        ]

    def select_if_scanned(self, job: str) -> bool:
        book = self.books[job]
        if book.state != "planning" or not book.planned or book.pieces:
            return False
        book.state = "selecting"
        book.pieces[SELECTION_CHUNK] = Piece((), Stage.SELECTION)
        return True

    @initialize(total=st.integers(1, 5))
    def begin(self, total: int) -> None:
        self.open_once("one", total)

    @rule(data=st.data())
    def somebody_acts(self, data: st.DataObject) -> None:
        """As it should, mostly: else nothing would ever come to its end."""
        courses = [self.open_job, self.claim_anything, self.sweep, self.time_runs_out, self.lose_a_job]
        if any(book.state == "planning" and not book.planned for book in self.books.values()):
            courses += [self.admit] * 6
        if any(self.is_free(unit) for unit in self.units()):
            courses += [self.claim_what_is_free] * 6
        if self.held_leases():
            courses += [self.finish_what_is_held] * 10 + [self.give_what_is_held_another_course] * 5
        if self.views and self.leases:
            courses += [self.admit_late, self.come_late]
        data.draw(st.sampled_from(courses))(data)

    # What dispatchers do.

    def open_job(self, data: st.DataObject) -> None:
        job, total = data.draw(st.sampled_from(JOBS)), data.draw(st.integers(1, 5))
        self.open_once(job, total)

    def open_once(self, job: str, total: int) -> None:
        is_new = job not in self.books
        assert self.once(lambda: self.ledger.open_job(job, SPEC, total)) == (is_new, False)
        self.books.setdefault(job, Book(total))

    def admit(self, data: st.DataObject) -> None:
        jobs = [job for job, book in self.books.items() if book.state == "planning" and not book.planned]
        view = the_job(self.ledger, data.draw(st.sampled_from(jobs)))
        self.views.append(view)
        self.admit_as_seen(data, view)

    def admit_late(self, data: st.DataObject) -> None:
        self.admit_as_seen(data, data.draw(st.sampled_from(self.views)))

    def admit_as_seen(self, data: st.DataObject, view: JobLedger) -> None:
        missing, cached = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 2))
        late = data.draw(st.booleans())
        missing = min(missing, view.total - 1 - view.cursor)
        cached = min(cached, view.total - 1 - view.cursor - missing)
        if missing + cached == 0:
            late = False  # nothing is left to admit, which has to be said once
        cursor = view.cursor + missing + cached
        planned = cursor == view.total - 1 and not late
        if cursor == view.cursor and not planned:
            return
        chunk = samples(missing, view.cursor + 1)

        def call() -> tuple[bool, list[Unit]]:
            return self.ledger.admit(view, cursor, planned, chunk, cached)

        book = self.books.get(view.id)
        if book is None or not self.is_current(view, book):
            assert self.untouched(call) == (False, [])
            return
        expected = []
        book.cursor, book.planned = cursor, planned
        book.cached += cached if book.round == 0 else 0
        book.ended += [view.cursor + missing + 1 + place for place in range(cached)]
        if missing:
            name = str(book.next_chunk)
            book.next_chunk += 1
            book.pieces[name] = Piece(tuple(sample.ordinal for sample in chunk), Stage.DOWNLOAD)
            expected.append(Unit(view.id, Stage.DOWNLOAD, name))
        if self.select_if_scanned(view.id):
            expected.append(Unit(view.id, Stage.SELECTION, SELECTION_CHUNK))
        assert self.once(call) == ((True, expected), (False, []))

    def is_current(self, view: JobLedger, book: Book) -> bool:
        opened = the_job(self.ledger, view.id).opened
        stand = (book.state, book.planned, book.round, book.cursor)
        return view.opened == opened and stand == ("planning", False, view.round, view.cursor)

    def sweep(self, data: st.DataObject) -> None:
        due = [unit for unit in self.units() if (piece := self.piece(unit)) and piece.is_overdue]
        first, second = self.once(self.ledger.sweep)
        assert second == []
        assert {item.unit for item in first} == set(due)
        for item in first:
            piece = self.piece(item.unit)
            assert piece is not None
            assert (item.was_leased, item.attempts) == (piece.holder is not None, piece.attempts)
            piece.holder, piece.is_overdue = None, False

    def time_runs_out(self, data: st.DataObject) -> None:
        units = data.draw(st.lists(st.sampled_from(self.units()), unique=True)) if self.units() else []
        if units:
            let_run_out(self.client, *units)
        for unit in units:
            piece = self.piece(unit)
            assert piece is not None
            piece.is_overdue = True

    def lose_a_job(self, data: st.DataObject) -> None:
        """Seldom."""
        job, luck = data.draw(st.sampled_from(JOBS)), data.draw(st.integers(0, 9))
        if luck == 7:
            self.fail(job)
        if luck == 9:
            self.forget(job)

    def fail(self, job: str) -> None:
        self.once(lambda: self.ledger.fail(job, PROBLEM))
        if job in self.books:
            self.books[job].state = "failing"
            assert the_job(self.ledger, job).problem == PROBLEM

    def forget(self, job: str) -> None:
        self.once(lambda: self.ledger.forget(job))
        self.books.pop(job, None)
        if not self.books:
            assert left_over(self.client) == set()

    # What workers do.

    def is_free(self, unit: Unit) -> bool:
        piece = self.piece(unit)
        is_free = piece is not None and (piece.holder is None or piece.is_overdue)
        return is_free and self.books[unit.job].state != "failing"

    def claim_what_is_free(self, data: st.DataObject) -> None:
        self.claim(data.draw(st.sampled_from([unit for unit in self.units() if self.is_free(unit)])))

    def claim_anything(self, data: st.DataObject) -> None:
        stage, chunk = data.draw(st.sampled_from(Stage)), data.draw(st.sampled_from(["0", "1", "0.1", SELECTION_CHUNK]))
        self.claim(Unit(data.draw(st.sampled_from(JOBS)), stage, chunk))

    def claim(self, unit: Unit) -> None:
        self.tokens += 1
        token = f"token {self.tokens}"
        piece = self.piece(unit)
        if piece is None or not self.is_free(unit):
            assert self.untouched(lambda: self.ledger.claim(unit, token)) is None
            return
        piece.holder, piece.is_overdue = token, False
        piece.attempts += 1
        first, second = self.once(lambda: self.ledger.claim(unit, token))
        assert first is not None and first == second
        assert tuple(sample.ordinal for sample in first.samples) == piece.ordinals
        assert (first.spec, first.attempts) == (SPEC, piece.attempts)
        self.leases.append(first)

    def held_leases(self) -> list[Lease]:
        return [lease for lease in self.leases if self.held(lease)]

    def finish_what_is_held(self, data: st.DataObject) -> None:
        lost, size_bytes = data.draw(st.sets(st.integers(0, 6), max_size=2)), data.draw(st.integers(0, 99))
        self.done(data.draw(st.sampled_from(self.held_leases())), lost, size_bytes)

    def give_what_is_held_another_course(self, data: st.DataObject) -> None:
        self.another_course(data, data.draw(st.sampled_from(self.held_leases())))

    def come_late(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if data.draw(st.booleans()):
            self.done(lease, set(), 1)
        else:
            self.another_course(data, lease)

    def another_course(self, data: st.DataObject, lease: Lease) -> None:
        courses = [self.beat, self.release, self.abandon]
        if lease.unit.stage is Stage.SELECTION:
            courses += [self.replan] * 3
        else:
            courses += [self.split] * 3
        if lease.unit.stage in (Stage.PREPROCESS, Stage.INFERENCE):
            courses += [self.send_back] * 3
        data.draw(st.sampled_from(courses))(lease, self.held(lease))

    def beat(self, lease: Lease, piece: Piece | None) -> None:
        if piece is None:
            assert self.untouched(lambda: self.ledger.beat(lease)) is False
            return
        piece.is_overdue = False
        assert self.once(lambda: self.ledger.beat(lease)) == (True, True)

    def done(self, lease: Lease, lost: set[int], size_bytes: int) -> None:
        piece, gone = self.held(lease), [sample for sample in lease.samples if sample.ordinal in lost]
        outcome = Outcome(
            len(lease.samples) - len(gone),
            [FailedAt(sample.ordinal, SampleCode.NOT_FOUND, "gone") for sample in gone],
            size_bytes,
        )
        follows = FOLLOWS[lease.unit.stage] if outcome.passed else None

        def call() -> tuple[bool, Unit | None]:
            return self.ledger.done(lease, follows, outcome, 0.5)

        if piece is None:
            assert self.untouched(call) == (False, None)
            return
        hint = self.note_done(lease.unit, piece, follows, outcome)
        assert self.once(call) == ((True, hint), (False, None))

    def note_done(self, unit: Unit, piece: Piece, follows: Stage | None, outcome: Outcome) -> Unit | None:
        book = self.books[unit.job]
        if unit.stage is Stage.SELECTION:
            del self.books[unit.job]
            return None
        piece.failed[unit.stage] = {failure.ordinal for failure in outcome.failed}
        place = SCAN_STAGES.index(unit.stage) + 1
        for stage in range(piece.reached, place if follows else 3):
            book.done[stage] += len(piece.ordinals)
        piece.reached = max(piece.reached, place)
        if follows is not None:
            piece.stage, piece.holder, piece.is_overdue, piece.put_off = follows, None, False, 0
            piece.attempts -= 1
            piece.size_bytes = outcome.size_bytes
            return unit._replace(stage=follows)
        book.ended += piece.ordinals
        book.failed |= {(unit.chunk, stage): failed for stage, failed in piece.failed.items()}
        del book.pieces[unit.chunk]
        return Unit(unit.job, Stage.SELECTION, SELECTION_CHUNK) if self.select_if_scanned(unit.job) else None

    def send_back(self, lease: Lease, piece: Piece | None) -> None:
        if piece is None:
            assert self.untouched(lambda: self.ledger.send_back(lease)) == 0
            return
        piece.stage, piece.holder, piece.is_overdue, piece.size_bytes = Stage.DOWNLOAD, None, False, None
        piece.attempts -= 1
        piece.returns += 1
        assert self.once(lambda: self.ledger.send_back(lease)) == (piece.returns, 0)

    def release(self, lease: Lease, piece: Piece | None) -> None:
        if piece is None:
            assert self.untouched(lambda: self.ledger.release(lease, 600.0, counts=True)) == 0
            return
        piece.holder, piece.is_overdue = None, False
        piece.attempts -= 1
        piece.put_off += 1
        assert self.once(lambda: self.ledger.release(lease, 600.0, counts=True)) == (piece.put_off, 0)

    def abandon(self, lease: Lease, piece: Piece | None) -> None:
        self.untouched(lambda: self.ledger.abandon(lease.unit, f"{lease.token} of another"))
        if piece is None:
            self.untouched(lambda: self.ledger.abandon(lease.unit, lease.token))
            return
        piece.is_overdue = True
        self.once(lambda: self.ledger.abandon(lease.unit, lease.token[:-1]))

    def split(self, lease: Lease, piece: Piece | None) -> None:
        if piece is None or len(lease.samples) < 2:
            assert self.untouched(lambda: self.ledger.split(lease, 2)) == []
            return
        book, chunk, middle = self.books[lease.unit.job], lease.unit.chunk, len(lease.samples) // 2
        del book.pieces[chunk]
        halves = []
        for half, ordinals in enumerate((piece.ordinals[:middle], piece.ordinals[middle:])):
            book.pieces[f"{chunk}.{half}"] = Piece(ordinals, Stage.DOWNLOAD, attempts=2, reached=piece.reached)
            halves.append(Unit(lease.unit.job, Stage.DOWNLOAD, f"{chunk}.{half}"))
        assert self.once(lambda: self.ledger.split(lease, 2)) == (halves, [])

    def replan(self, lease: Lease, piece: Piece | None) -> None:
        if piece is None:
            assert self.untouched(lambda: self.ledger.replan(lease)) == 0
            return
        book = self.books[lease.unit.job]
        book.round += 1
        book.cursor, book.planned, book.ended, book.pieces = -1, False, [], {}
        if book.state != "failing":
            book.state = "planning"
        assert self.once(lambda: self.ledger.replan(lease)) == (book.round, 0)

    # What always holds.

    @invariant()
    def all_of_it_holds(self) -> None:
        found = contents(self.client)
        self.the_units_are_those_of_the_model(found)
        self.attempts_are_workers_lost_and_the_one_that_holds(found)
        self.each_planned_sample_is_in_one_chunk_or_ended()
        self.a_selection_is_open_exactly_when_all_is_scanned()
        self.progress_only_moves_forward()
        self.failures_are_those_that_the_last_pass_left()
        self.a_job_is_as_the_model_has_it()

    def the_units_are_those_of_the_model(self, found: dict[str, Any]) -> None:
        pieces = {unit: self.piece(unit) for unit in self.units()}
        assert found.get(keys.OPEN, {}) == {str(unit): piece.is_overdue for unit, piece in pieces.items() if piece}
        holders = {
            str(unit).encode(): piece.holder.encode() for unit, piece in pieces.items() if piece and piece.holder
        }
        assert found.get(keys.OWNER, {}) == holders
        assert found.get(keys.BYTES, {}) == {
            f"{unit.job}|{unit.chunk}".encode(): str(piece.size_bytes).encode()
            for unit, piece in pieces.items()
            if piece and piece.size_bytes is not None
        }
        for job, book in self.books.items():
            chunks = {chunk.encode() for chunk in book.pieces} - {SELECTION_CHUNK.encode()}
            assert found.get(keys.CHUNKS + job, {}).keys() == chunks
            assert found.get(keys.REACHED + job, {}).keys() <= chunks

    def attempts_are_workers_lost_and_the_one_that_holds(self, found: dict[str, Any]) -> None:
        counted = {name: int(count) for name, count in found.get(keys.ATTEMPTS, {}).items() if count != b"0"}
        expected = {}
        for unit in self.units():
            piece = self.piece(unit)
            assert piece is not None
            expected[f"{unit.job}|{unit.chunk}".encode()] = piece.attempts
            expected[f"{unit.job}|{unit.chunk}|returns".encode()] = piece.returns
            expected[f"{unit.job}|{unit.chunk}|put off".encode()] = piece.put_off
        assert counted == {name: count for name, count in expected.items() if count}

    def each_planned_sample_is_in_one_chunk_or_ended(self) -> None:
        for book in self.books.values():
            open_now = [ordinal for piece in book.pieces.values() for ordinal in piece.ordinals]
            assert sorted(open_now + book.ended) == list(range(book.cursor + 1))

    def a_selection_is_open_exactly_when_all_is_scanned(self) -> None:
        for job, book in self.books.items():
            is_open = any(unit.stage is Stage.SELECTION for unit in self.units() if unit.job == job)
            if book.state != "failing":
                assert is_open == (book.state == "selecting") == (book.planned and book.pieces.keys() <= {"all"})

    def progress_only_moves_forward(self) -> None:
        for job, book in self.books.items():
            now, before = self.ledger.progress(job), book.seen
            assert now is not None and now.total == book.total and now.cached == book.cached
            done = [now.stages[stage].done for stage in SCAN_STAGES]
            assert done == [min(book.total, book.cached + count) for count in book.done]
            assert done[0] >= done[1] >= done[2] and now.failed <= book.total
            if before is not None:
                assert all(now.stages[stage].done >= before.stages[stage].done for stage in SCAN_STAGES)
                assert now.failed >= before.failed
            if book.state == "selecting":
                assert done == [book.total] * 3
            book.seen = now

    def failures_are_those_that_the_last_pass_left(self) -> None:
        for job, book in self.books.items():
            assert self.ledger.failures(job).keys() == book.failures()

    def a_job_is_as_the_model_has_it(self) -> None:
        assert {job.id for job in self.ledger.jobs()} == self.books.keys()
        for job, book in self.books.items():
            found = the_job(self.ledger, job)
            assert (found.state, found.round, found.cursor, found.planned, found.total, found.cached) == (
                book.state, book.round, book.cursor, book.planned, book.total, book.cached,
            )  # fmt: skip

    def teardown(self) -> None:
        for job in self.books:
            self.ledger.forget(job)
        assert left_over(self.client) == set()


def test_any_order_of_calls_leaves_the_ledger_as_its_model(redis_url: str) -> None:
    bounds: dict[str, Any] = {"max_examples": 60, "stateful_step_count": 60, "deadline": None}
    with redis.Redis.from_url(redis_url) as client:
        ledger = Ledger.open(config_for(redis_url))
        run_state_machine_as_test(
            lambda: LedgerMachine(client, ledger),  # type: ignore[arg-type]  # a factory will do
            settings=settings(
                **bounds,
                derandomize=bool(os.environ.get("CI")),
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            ),
        )
