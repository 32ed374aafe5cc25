"""POST /post: the call of the published ALaaS package (docs/http-api.md).

It waits for the job and answers as that package's server did: documents under `data`, most wanted first.
"""

from __future__ import annotations

import time

from flask import Response

from alaas.errors import Unavailable
from alaas.jobs import JobRequest, JobState, Report
from alaas_workers.catalog import JobRecord
from api.jobs import why_no_report
from api.parts import Parts, parts
from api.problems import problem_response
from api.routing import Call, RouteTable, json_answer
from api.submission import submit
from api.wire import PublishedAnswer, PublishedChoice, PublishedHeader, PublishedRequest, PublishedScore

ROUTES = RouteTable()
POLL_S = 0.1


@ROUTES.add(
    "POST", "/post", {200: PublishedAnswer}, body=PublishedRequest, keeps_key=True, errors=(409, 429),
    example={
        "data": [{"uri": "http://images.example/1.png"}, {"uri": "http://images.example/2.png"}],
        "parameters": {"budget": 1},
        "execEndpoint": "/query",
    },
)  # fmt: skip
def post(call: Call) -> Response:
    """Choose from a list and wait for the answer (the published package's call)"""
    own, asked = parts(), call.body
    release = own.slots.take()
    try:
        request = JobRequest(uris=[document.uri for document in asked.data], budget=asked.parameters.budget)
        record = submit(own, call.owner, request, call.key, call.digest, field="data.{}.uri")
        record = _ended(own, record)
    finally:
        release()
    if record.state is not JobState.SUCCEEDED:
        return problem_response(why_no_report(record))
    report = Report.model_validate_json(own.catalog.report(record.id, call.owner))
    return json_answer(_answer(record.id, report, asked), headers={"Location": f"/v1/jobs/{record.id}"})


def _ended(own: Parts, record: JobRecord) -> JobRecord:
    """Wait for the job's end. Raises Unavailable when it takes too long; the job goes on."""
    deadline = time.monotonic() + own.config.api.post_wait_s
    while not record.state.is_terminal:
        if time.monotonic() > deadline or own.stopping.wait(POLL_S):
            hint = f"GET /v1/jobs/{record.id}, or repeat this call with the Idempotency-Key that it had"
            raise Unavailable(f"the job still runs: {hint}", retry_after_s=10)
        record = own.catalog.get_job(record.id)
    return record


def _answer(job_id: str, report: Report, asked: PublishedRequest) -> PublishedAnswer:
    name = str((report.strategy or {}).get("type", "score"))
    chosen = [
        PublishedChoice(id=one.id, uri=one.uri, scores={name: PublishedScore(value=one.score)})
        for one in report.selected
    ]
    return PublishedAnswer(header=PublishedHeader(requestId=job_id), parameters=asked.parameters, data=chosen)
