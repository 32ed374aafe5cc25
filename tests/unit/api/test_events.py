"""Server-sent events: one for each change, an end, and a bound on how many streams hold a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas.errors import Unavailable
from alaas.jobs import Progress, Report, Stage, StageProgress
from alaas_workers.catalog import Catalog
from api import events
from api.parts import EXTENSION

Submit = Callable[..., str]
Stream = Generator[tuple[str, Any], None, None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "POLL_S", 0.01)


def read(client: FlaskClient, job: str) -> Stream:
    """Events of the stream as (name, data); comments as ("", text)."""
    answer = client.get(f"/v1/jobs/{job}/events", buffered=False)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    try:
        for block in answer.iter_encoded():
            lines = dict(line.split(": ", 1) for line in block.decode().strip().splitlines())
            if "event" in lines:
                yield lines["event"], json.loads(lines["data"])
            elif "" in lines:
                yield "", lines[""]
    finally:
        answer.close()


def test_each_change_is_told_once_and_then_the_end(
    client: FlaskClient, submit: Submit, catalog: Catalog, succeed: Callable[[str], Report]
) -> None:
    job = submit()
    stream = read(client, job)
    assert next(stream)[1]["state"] == "queued"
    catalog.mark_running(job)
    assert next(stream)[1]["state"] == "running"
    catalog.save_progress(job, Progress(total=3, stages={Stage.DOWNLOAD: StageProgress(done=2, total=3)}))
    assert next(stream)[1]["progress"]["stages"]["download"]["done"] == 2
    succeed(job)
    assert [(name, data["state"]) for name, data in stream] == [("progress", "succeeded"), ("end", "succeeded")]


def test_a_job_that_has_ended_is_told_at_once(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    client.post(f"/v1/jobs/{job}/cancel")
    assert [name for name, _ in read(client, job)] == ["progress", "end"]


def test_a_quiet_stream_shows_that_it_is_alive(
    client: FlaskClient, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)
    stream = read(client, submit())
    assert [next(stream)[0] for _ in range(3)] == ["progress", "", ""]
    stream.close()


def test_streams_over_the_bound_are_refused_and_a_closed_one_makes_room(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    held = [read(client, job) for _ in range(4)]
    for stream in held:
        next(stream)
    refused = client.get(f"/v1/jobs/{job}/events")
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert client.get(f"/v1/jobs/{job}").status_code == 200
    held[0].close()
    again = read(client, job)
    next(again)
    for stream in [*held[1:], again]:
        stream.close()


def test_a_client_that_leaves_before_the_first_event_makes_room_too(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    for _ in range(6):
        client.get(f"/v1/jobs/{job}/events", buffered=False).close()
        assert client.head(f"/v1/jobs/{job}/events").status_code == 200
    stream = read(client, job)
    assert next(stream)[0] == "progress"
    stream.close()


def test_a_stream_outlasts_a_catalog_that_is_away(
    client: FlaskClient, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    stream = read(client, job)
    next(stream)
    with monkeypatch.context() as away:
        away.setattr(Catalog, "get_job", lambda self, job_id, owner: (_ for _ in ()).throw(Unavailable("away")))
        away.setattr(events, "HEARTBEAT_S", 0.02)
        assert next(stream)[0] == ""
    client.post(f"/v1/jobs/{job}/cancel")
    assert [name for name, _ in stream if name] == ["progress", "end"]


def test_streams_end_when_the_server_stops(client: FlaskClient, submit: Submit) -> None:
    stopping: threading.Event = client.application.extensions[EXTENSION].stopping
    stream = read(client, submit())
    next(stream)
    stopping.set()
    assert list(stream) == []


def test_the_events_of_an_unknown_job_are_not_found(client: FlaskClient) -> None:
    assert client.get("/v1/jobs/nope/events").status_code == 404
