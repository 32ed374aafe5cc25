"""GET /v1/jobs/{id}/events: server-sent events, one `progress` at each change, and one `end`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Response, request

from alaas.errors import Unavailable
from alaas.jobs import Job
from api.parts import Parts, parts
from api.routing import Call, RouteTable

ROUTES = RouteTable()
POLL_S = 0.25
HEARTBEAT_S = 10.0
EVENTS = "text/event-stream"


@ROUTES.add("GET", "/v1/jobs/<job_id>/events", {200: EVENTS}, errors=(404, 429))
def job_events(call: Call, job_id: str) -> Response:
    """Follow a job: `progress` with the job at each change, then `end`"""
    own = parts()
    own.catalog.get_job(job_id, call.owner)
    if request.method == "HEAD":
        return Response(mimetype=EVENTS)
    release = own.slots.take()
    response = Response(_events(own, call.owner, job_id), mimetype=EVENTS, headers={"X-Accel-Buffering": "no"})
    response.call_on_close(release)  # Also when the client leaves before the first event, which no generator would see.
    return response


def _events(own: Parts, owner: str, job_id: str) -> Iterator[str]:
    yield "retry: 2000\n\n"
    said, spoke = "", time.monotonic()
    while not own.stopping.is_set():
        job = _look(own, owner, job_id)
        text = job.model_dump_json() if job else said
        if text != said:
            said, spoke = text, time.monotonic()
            yield f"event: progress\ndata: {text}\n\n"
        if job and job.state.is_terminal:
            yield f"event: end\ndata: {text}\n\n"
            return
        if time.monotonic() - spoke > HEARTBEAT_S:
            spoke = time.monotonic()
            yield ": still here\n\n"  # The only way to learn that the client has left.
        own.stopping.wait(POLL_S)


def _look(own: Parts, owner: str, job_id: str) -> Job | None:
    """The job now; None while the catalog is away, which the stream outlasts."""
    try:
        return own.catalog.get_job(job_id, owner).to_job()
    except Unavailable:
        return None
