"""Every answer that is an error, as `application/problem+json` (RFC 9457): fixed words, no traceback, path or host."""

from __future__ import annotations

import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from alaas.errors import AlaasError, Transient, Unauthorized
from alaas.jobs import Problem

logger = logging.getLogger(__name__)
PROBLEM_TYPE = "application/problem+json"

_FLASK = {
    400: ("malformed_request", "The request cannot be read"),
    404: ("not_found", "No such thing"),
    405: ("method_not_allowed", "This route does not take that method"),
    408: ("timeout", "The request took too long to arrive"),
    413: ("too_large", "The request is too large"),
    415: ("unsupported_media_type", "The body is of a type that this route does not take"),
}


def problem_of(error: AlaasError, status: int | None = None) -> Problem:
    return Problem(
        title=error.title, status=status or error.status, code=error.code, detail=error.detail, field=error.field
    )


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status=problem.status, headers=headers, mimetype=PROBLEM_TYPE)


def answer_to(error: AlaasError) -> Response:
    """`error` as a response, with Retry-After (seconds) or WWW-Authenticate where they belong."""
    if error.status >= 500 and not isinstance(error, Transient):
        return _bug(error)
    headers: dict[str, str] = {}
    retry_after_s = getattr(error, "retry_after_s", 5 if isinstance(error, Transient) else None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, retry_after_s))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Transient):
        logger.warning("%s: %s", error.code, error.detail)
    return problem_response(problem_of(error), headers)


def _http(error: HTTPException) -> Response:
    """Flask's and werkzeug's own errors. Their descriptions are left out: some quote the request."""
    status = error.code or 500
    code, title = _FLASK.get(status, ("refused", "The request cannot be served"))
    headers = {name: value for name, value in error.get_response().headers.items() if name == "Allow"}
    return problem_response(Problem(title=title, status=status, code=code, detail=title.lower()), headers)


def _bug(error: Exception) -> Response:
    """A bug is our 500 and says so: calling it 503 would have clients repeat what cannot succeed."""
    logger.error("a request failed on an error that nothing foresaw", exc_info=error)
    problem = Problem(title="Internal error", status=500, code="internal", detail="the server has a bug; see its log")
    return problem_response(problem)


def register(app: Flask) -> None:
    app.register_error_handler(AlaasError, answer_to)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _bug)
