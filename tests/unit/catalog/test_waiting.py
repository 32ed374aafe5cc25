"""The bound on psycopg's waits: `_bounded` stands between psycopg's generators and its waiting loop."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

pytest.importorskip("psycopg", reason="psycopg is an extra of the package")

from alaas_workers.catalog.postgres import _bounded, _Silent

NOTHING, READABLE = 0, 1


def query(answers: int) -> Generator[int, int, str]:
    """Like psycopg's: done after so many answers, and passing over ticks without news."""
    while answers:
        if (yield READABLE):
            answers -= 1
    return "rows"


def test_what_the_query_returns_is_passed_on() -> None:
    waits = _bounded(query(2), 1.0)
    assert next(waits) == READABLE
    assert waits.send(READABLE) == READABLE
    with pytest.raises(StopIteration) as end:
        waits.send(READABLE)
    assert end.value.value == "rows"


def test_a_query_that_never_waits_is_passed_on() -> None:
    with pytest.raises(StopIteration) as end:
        next(_bounded(query(0), 1.0))
    assert end.value.value == "rows"


def test_silence_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waits = _bounded(query(2), 2.5)
    next(waits)
    now[0] += 2.4
    waits.send(NOTHING)
    now[0] += 0.2
    with pytest.raises(_Silent):
        waits.send(NOTHING)


def test_an_answer_starts_the_wait_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waits = _bounded(query(5), 2.5)
    next(waits)
    for ready in (READABLE, NOTHING, READABLE, NOTHING):
        now[0] += 2.0
        waits.send(ready)
