"""Jobs: accept, look at, cancel, and give out the report."""

from __future__ import annotations

import logging

from flask import Response

from alaas.errors import Conflict, Unavailable
from alaas.jobs import Job, JobRequest, JobState, Problem, Report
from alaas_workers.catalog import JobRecord
from api.parts import Parts, parts
from api.problems import problem_of, problem_response
from api.routing import JSON, Call, RouteTable, json_answer
from api.submission import submit
from api.wire import JobPage, JobsQuery, NoBody

logger = logging.getLogger(__name__)
ROUTES = RouteTable()


@ROUTES.add(
    "POST", "/v1/jobs", {202: Job}, body=JobRequest, keeps_key=True, errors=(404, 409, 429),
    example={"uris": ["http://images.example/1.png", "http://images.example/2.png"], "budget": 1},
)  # fmt: skip
def create_job(call: Call) -> Response:
    """Submit a query, or a scan that only computes features"""
    record = submit(parts(), call.owner, call.body, call.key, call.digest)
    return json_answer(record.to_job(), 202, {"Location": f"/v1/jobs/{record.id}"})


@ROUTES.add("GET", "/v1/jobs", {200: JobPage}, query=JobsQuery)
def list_jobs(call: Call) -> Response:
    """List your jobs"""
    own, asked = parts(), call.query
    records, cursor = own.catalog.list_jobs(call.owner, asked.after, asked.limit, asked.state)
    return json_answer(JobPage(items=[record.to_job() for record in records], next=cursor))


@ROUTES.add("GET", "/v1/jobs/<job_id>", {200: Job}, errors=(404,))
def get_job(call: Call, job_id: str) -> Response:
    """One job: its state, and its progress through the stages"""
    return json_answer(parts().catalog.get_job(job_id, call.owner).to_job())


@ROUTES.add("GET", "/v1/jobs/<job_id>/report", {200: Report}, errors=(404, 409))
def get_report(call: Call, job_id: str) -> Response:
    """What the job chose; 409 until it has succeeded, with the job's own error if it failed"""
    record = parts().catalog.get_job(job_id, call.owner)
    if record.state is not JobState.SUCCEEDED:
        return problem_response(why_no_report(record))
    return Response(parts().catalog.report(job_id, call.owner), mimetype=JSON)


@ROUTES.add("POST", "/v1/jobs/<job_id>/cancel", {200: Job}, body=NoBody, errors=(404, 409))
def cancel_job(call: Call, job_id: str) -> Response:
    """Cancel a job; one that has ended stays as it is"""
    own = parts()
    own.catalog.get_job(job_id, call.owner)
    if own.catalog.finish(job_id, JobState.CANCELLED):
        _drop_work(own, job_id)
    return json_answer(own.catalog.get_job(job_id, call.owner).to_job())


def _drop_work(own: Parts, job_id: str) -> None:
    try:
        own.ledger.cancel(job_id)
    except Unavailable:
        # The catalog has the job's end, which is the truth; the dispatcher clears what is left of it.
        logger.warning("the ledger is away: the work of cancelled job %s is dropped later", job_id)


def why_no_report(record: JobRecord) -> Problem:
    """A problem with status 409: the job's own error if it failed."""
    if record.error is not None:
        return record.error.model_copy(update={"status": 409})
    if record.state.is_terminal:
        return problem_of(Conflict(f"the job was {record.state}"))
    return problem_of(Conflict(f"the job is {record.state}; its report comes when it has succeeded"))
