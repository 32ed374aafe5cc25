"""`application/problem+json` back into the error tree of alaas.errors: the client raises what the API raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alaas import errors
from alaas.errors import AlaasError, TooManyRequests, Unavailable

PROBLEM_TYPE = "application/problem+json"
_NEED_MORE_ARGUMENTS = (errors.SampleError,)  # these never travel as the answer to a request


def _tree(base: type[AlaasError]) -> Iterator[type[AlaasError]]:
    for child in base.__subclasses__():
        if not issubclass(child, _NEED_MORE_ARGUMENTS):
            yield child
            yield from _tree(child)


BY_CODE: dict[str, type[AlaasError]] = {error.code: error for error in _tree(AlaasError)}
BY_STATUS: dict[int, type[AlaasError]] = {
    400: errors.MalformedRequest,
    401: errors.Unauthorized,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.InvalidRequest,
    429: errors.TooManyRequests,
    503: errors.Unavailable,
}


def as_error(status: int, problem: Mapping[str, Any], retry_after_s: int | None = None) -> AlaasError:
    """The typed error of a problem. An unknown code, of a newer server, falls back to the status."""
    kind = BY_CODE.get(str(problem.get("code")), BY_STATUS.get(status, AlaasError))
    detail = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    field = problem.get("field")
    error = kind(detail, field=field if isinstance(field, str) else None)
    if retry_after_s is not None and isinstance(error, TooManyRequests | Unavailable):
        error.retry_after_s = retry_after_s
    return error
