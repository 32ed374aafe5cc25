"""POST /post: the call of the published ALaaS package (docs/http-api.md).

It waits for the job and answers as that package's server did: documents under `data`, most wanted first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from flask import Response

from alaas.errors import Unavailable
from alaas.jobs import JobRequest, JobState, Report
from alaas.texts import text_uri
from alaas_workers.catalog import JobRecord
from alaas_workers.sources.upload_source import keep_upload
from api.jobs import why_no_report
from api.parts import Parts, parts
from api.problems import problem_response
from api.routing import Call, RouteTable, json_answer
from api.storage import storage_faults
from api.submission import submit
from api.wire import (
    PublishedAnswer,
    PublishedChoice,
    PublishedDocument,
    PublishedHeader,
    PublishedRequest,
    PublishedScore,
    PublishedText,
)

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
        texts, request = _request(own, call.owner, asked)
        record = submit(own, call.owner, request, call.key, call.digest, field="data.{}.uri")
        record = _ended(own, record)
    finally:
        release()
    if record.state is not JobState.SUCCEEDED:
        return problem_response(why_no_report(record))
    report = Report.model_validate_json(own.catalog.report(record.id, call.owner))
    return json_answer(_answer(record.id, report, asked, texts), headers={"Location": f"/v1/jobs/{record.id}"})


def _ended(own: Parts, record: JobRecord) -> JobRecord:
    """Wait for the job's end. Raises Unavailable when it takes too long; the job goes on."""
    deadline = time.monotonic() + own.config.api.post_wait_s
    while not record.state.is_terminal:
        if time.monotonic() > deadline or own.stopping.wait(POLL_S):
            hint = f"GET /v1/jobs/{record.id}, or repeat this call with the Idempotency-Key that it had"
            raise Unavailable(f"the job still runs: {hint}", retry_after_s=10)
        record = own.catalog.get_job(record.id)
    return record


def _request(own: Parts, owner: str, asked: PublishedRequest) -> tuple[dict[str, str], JobRequest]:
    """The job that was asked for, and its texts by the URIs that they are known by."""
    budget = asked.parameters.budget
    uris = [document.uri for document in asked.data if isinstance(document, PublishedDocument)]
    if uris:
        return {}, JobRequest(uris=uris, budget=budget)
    texts = [document.text for document in asked.data if isinstance(document, PublishedText)]
    uris = [_uri_of(own, owner, text) for text in texts]
    return dict(zip(uris, texts, strict=True)), JobRequest(uris=uris, budget=budget, modality="text")


def _uri_of(own: Parts, owner: str, text: str) -> str:
    uri = text_uri(text)
    if uri is None:
        with storage_faults("uploads"):
            uri = keep_upload(own.config, owner, text.encode())
    return uri


def _answer(job_id: str, report: Report, asked: PublishedRequest, texts: Mapping[str, str]) -> PublishedAnswer:
    name = str((report.strategy or {}).get("type", "score"))
    chosen = [
        PublishedChoice(id=one.id, scores={name: PublishedScore(value=one.score)}, **_document(one.uri, texts))
        for one in report.selected
    ]
    return PublishedAnswer(header=PublishedHeader(requestId=job_id), parameters=asked.parameters, data=chosen)


def _document(uri: str, texts: Mapping[str, str]) -> dict[str, str]:
    """As it was sent."""
    return {"text": texts[uri]} if uri in texts else {"uri": uri}
