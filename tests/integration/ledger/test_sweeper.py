"""The sweep: what comes back, what is hinted again, and what ends a unit that kills its workers."""

from __future__ import annotations

import pytest
import redis

from alaas.config import Config
from alaas.errors import SampleCode, Unavailable
from alaas.jobs import Stage
from alaas_workers.ledger import Ledger, Outcome, Unit
from alaas_workers.sweeper import Sweeper
from tests.support.ledger import Notebook, admitted, claimed, let_run_out, the_job

SELECTION = Unit("job", Stage.SELECTION, "all")


@pytest.fixture
def sweeper(config: Config, ledger: Ledger, hints: Notebook) -> Sweeper:
    return Sweeper(config, ledger, hints)


def lose(ledger: Ledger, client: redis.Redis, unit: Unit, token: str = "lost") -> None:
    """A worker takes the unit and dies; its lease runs out."""
    claimed(ledger, unit, token)
    let_run_out(client, unit)


def test_a_unit_whose_worker_fell_silent_is_hinted_again(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    unit = admitted(ledger)
    lose(ledger, client, unit)
    hints.queued[Stage.DOWNLOAD] = 50
    sweeper.sweep()
    assert hints.taken() == [unit]
    assert claimed(ledger, unit, "another").attempts == 2


def test_what_is_in_good_hands_or_not_due_is_left_alone(sweeper: Sweeper, ledger: Ledger, hints: Notebook) -> None:
    claimed(ledger, admitted(ledger, 2, planned=False))
    admitted(ledger, 2)
    sweeper.sweep()
    assert hints.taken() == []


def test_a_lost_hint_is_sent_again(sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook) -> None:
    unit = admitted(ledger)
    let_run_out(client, unit)
    sweeper.sweep()
    assert hints.taken() == [unit]


def test_a_unit_that_merely_waits_is_not_hinted_again(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    units = [admitted(ledger, 1, planned=False) for _ in range(5)]
    let_run_out(client, *units)
    hints.queued[Stage.DOWNLOAD] = 5
    sweeper.sweep()
    assert hints.taken() == []


def test_only_as_many_are_hinted_again_as_lost_their_hints(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    units = [admitted(ledger, 1, planned=False) for _ in range(5)]
    let_run_out(client, *units)
    hints.queued[Stage.DOWNLOAD] = 3
    sweeper.sweep()
    assert len(hints.taken()) == 2


def test_each_stage_is_reckoned_by_itself(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    first, second = admitted(ledger, 2, planned=False), admitted(ledger, 2, planned=False)
    ledger.done(claimed(ledger, first), Stage.PREPROCESS, Outcome(2), 0.1)
    first = first._replace(stage=Stage.PREPROCESS)
    let_run_out(client, first, second)
    hints.queued[Stage.DOWNLOAD] = 1
    sweeper.sweep()
    assert hints.taken() == [first]


def test_a_unit_without_a_hint_never_stands_behind_others_for_good(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    """Four wait with their messages, one lost its own: within five sweeps it is hinted, whichever it is."""
    units = [admitted(ledger, 1, planned=False) for _ in range(5)]
    hints.queued[Stage.DOWNLOAD] = 4
    for _ in units:
        let_run_out(client, *units)
        sweeper.sweep()
    assert set(hints.taken()) == set(units)


def test_of_two_sweepers_one_has_an_overdue_unit(
    config: Config, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    lose(ledger, client, admitted(ledger))
    for _ in range(2):
        Sweeper(config, ledger, hints).sweep()
    assert len(hints.taken()) == 1


def test_what_ran_out_is_hinted_though_the_broker_cannot_say_what_waits(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, waiting = admitted(ledger, 2, planned=False), admitted(ledger, 2)
    lose(ledger, client, lost)
    let_run_out(client, waiting)

    def away() -> dict[Stage, int]:
        raise ConnectionError

    monkeypatch.setattr(hints, "waiting", away)
    with pytest.raises(ConnectionError):
        sweeper.sweep()
    assert hints.taken() == [lost]


def test_a_chunk_that_lost_three_workers_is_split_and_its_halves_have_one_try_each(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    unit = admitted(ledger, 4)
    for attempt in range(2):
        lose(ledger, client, unit, f"token {attempt}")
        sweeper.sweep()
        assert hints.taken() == [unit]
    lose(ledger, client, unit, "third")
    sweeper.sweep()
    halves = hints.taken()
    assert [half.chunk for half in halves] == ["0.0", "0.1"]
    lose(ledger, client, halves[0])
    sweeper.sweep()
    assert [unit.chunk for unit in hints.taken()] == ["0.0.0", "0.0.1"]


def test_a_poison_sample_is_given_up_alone_and_the_job_goes_on(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    """Sample 5 kills its worker at each download; the other seven pass."""
    crashes, todo = 0, [admitted(ledger, 8)]
    while todo:
        unit = todo.pop(0)
        if unit.stage is Stage.SELECTION:
            break
        lease = claimed(ledger, unit, f"token {crashes} {unit}")
        if 5 in [sample.ordinal for sample in lease.samples]:
            crashes += 1
            ledger.abandon(unit, lease.token)
            sweeper.sweep()
            todo += hints.taken()
            continue
        for stage, follows in ((Stage.DOWNLOAD, Stage.PREPROCESS), (Stage.PREPROCESS, Stage.INFERENCE)):
            ledger.done(lease, follows, Outcome(len(lease.samples)), 0.1)
            lease = claimed(ledger, unit._replace(stage=follows), f"token {stage}")
        _, hint = ledger.done(lease, None, Outcome(len(lease.samples)), 0.1)
        todo += [hint] if hint else []
    assert unit == SELECTION
    assert [(at, failure.code) for at, failure in ledger.failures("job").items()] == [(5, SampleCode.WORKER_CRASH)]
    assert crashes == 3 + 1 + 1 + 2  # with eight samples, four, two, and twice alone


def test_no_single_sample_is_given_up_for_one_lost_worker(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    halves = [admitted(ledger, 2)]
    for attempt in range(3):
        lose(ledger, client, halves[0], f"token {attempt}")
        sweeper.sweep()
        halves = hints.taken()
    for half in halves:
        lose(ledger, client, half)
    sweeper.sweep()
    assert hints.taken() == halves
    assert ledger.failures("job") == {}


def test_the_end_of_the_last_sample_given_up_opens_the_selection(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    unit = admitted(ledger, 1)
    for attempt in range(3):
        lose(ledger, client, unit, f"token {attempt}")
        hints.taken()
        sweeper.sweep()
    assert hints.taken() == [SELECTION]
    progress = ledger.progress("job")
    assert progress is not None and (progress.failed, progress.stages[Stage.INFERENCE].done) == (1, 1)


def test_a_unit_that_another_took_meanwhile_is_not_split(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = admitted(ledger, 4)
    for attempt in range(3):
        lose(ledger, client, unit, f"token {attempt}")
        overdue = ledger.sweep()
    claimed(ledger, unit, "late message")
    monkeypatch.setattr(ledger, "sweep", lambda: overdue)
    sweeper.sweep()
    assert ledger.open_units() == ([unit], {unit})


def test_a_selection_that_lost_three_workers_fails_its_job(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook
) -> None:
    unit = admitted(ledger, 2)
    for follows in (Stage.PREPROCESS, Stage.INFERENCE, None):
        ledger.done(claimed(ledger, unit), follows, Outcome(2), 0.1)
        unit = unit._replace(stage=follows or Stage.SELECTION)
    for attempt in range(3):
        lose(ledger, client, SELECTION, f"token {attempt}")
        sweeper.sweep()
    problem = the_job(ledger).problem
    assert problem is not None and problem.code == "selection_crashed"
    assert hints.taken() == [SELECTION, SELECTION]


def test_a_sweeper_that_dies_before_it_splits_leaves_the_unit_to_the_next(
    sweeper: Sweeper, ledger: Ledger, client: redis.Redis, hints: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = admitted(ledger, 4)
    for attempt in range(3):
        lose(ledger, client, unit, f"token {attempt}")
        overdue = ledger.sweep()
    assert overdue[0].attempts == 3

    def away(unit: Unit, token: str) -> None:
        raise Unavailable("")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "claim", away)
        let_run_out(client, unit)
        with pytest.raises(Unavailable):
            sweeper.sweep()
    let_run_out(client, unit)
    sweeper.sweep()
    assert [half.chunk for half in hints.taken()] == ["0.0", "0.1"]
