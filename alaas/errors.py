"""Every error that ALaaS raises on purpose, as one tree; both sides of the wire use it.

AlaasError                   base: `code` (fixed word), `status` (HTTP), `field` (what was wrong)
├── ConfigError              the operator's YAML, environment or command line
├── InvalidRequest      422  a request that names a wrong value in `field`
│   ├── MalformedRequest 400 a body that is not the JSON we accept
│   ├── UnsupportedMediaType 415 a body of another type than the route takes
│   ├── ManifestError    422 a manifest that is damaged, or holds no such column
│   └── TooLarge        413
├── Unauthorized        401
├── Forbidden           403  a page of another site tried to write
├── WrongHost           421  without tokens, only this machine's own names are answered
├── NotFound            404  also another owner's things
├── Conflict            409
├── TooManyRequests     429  with `retry_after_s`
├── ModelError               a model that cannot be loaded or cannot give what was asked
├── SelectionFailed     422  a selection from somebody's own scores ran out of time or memory, or crashed
├── JobFailed                the client waited for a job that failed or was cancelled
├── SampleError              one sample cannot be used; `code` is a `SampleCode`
└── Transient                worth trying again
    ├── Unavailable     503  Redis or the catalog is away, with `retry_after_s`
    ├── Timeout              the client's deadline passed
    └── TransientSampleError (also a SampleError)
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alaas.jobs import Problem


class SampleCode(StrEnum):
    """Why one sample was left out. Fixed words: users filter reports by them."""

    BAD_URI = "bad_uri"  # not a URI, or one with credentials in it
    UNKNOWN_SCHEME = "unknown_scheme"  # no source serves this scheme
    NOT_ALLOWED = "not_allowed"  # outside the configured roots
    NOT_FOUND = "not_found"  # 404, 410, or no such file
    FORBIDDEN = "forbidden"  # 401 or 403 from the remote
    UNREACHABLE = "unreachable"  # refused, timed out or a blocked address: told apart to nobody
    REMOTE_ERROR = "remote_error"  # any other answer of the remote
    TOO_LARGE = "too_large"  # more bytes than the configured cap
    EMPTY = "empty"  # no bytes at all, a text of nothing but white space, or a sound that lasts no time
    NOT_AN_IMAGE = "not_an_image"  # no known image format
    NOT_TEXT = "not_text"  # bytes that are not UTF-8, or hold a NUL
    NOT_AUDIO = "not_audio"  # no sound in a format that we decode
    TRUNCATED = "truncated"  # an image or a sound that ends early or is corrupt
    TOO_MANY_PIXELS = "too_many_pixels"  # would take too much memory to decode
    TOO_LONG = "too_long"  # a sound of more seconds than the configured cap
    TOO_MANY_CHANNELS = "too_many_channels"  # a sound of more than 8
    NOT_FINITE = "not_finite"  # a sound with NaN, Inf or numbers beyond any sound in it
    BAD_OUTPUT = "bad_output"  # the model gave NaN or Inf for it
    WORKER_CRASH = "worker_crash"  # it killed its worker each time it was tried
    UNSTABLE = "unstable"  # its bytes or features kept changing or vanishing while the job ran


class AlaasError(Exception):
    """Base of all. `detail` is one sentence for a person and names no path, host or remote body of the server."""

    status = 500
    code = "internal"
    title = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class ConfigError(AlaasError):
    code = "bad_config"
    title = "The configuration is wrong"


class InvalidRequest(AlaasError):
    status = 422
    code = "invalid_request"
    title = "The request names a wrong value"


class MalformedRequest(InvalidRequest):
    status = 400
    code = "malformed_request"
    title = "The body is not the JSON that this route accepts"


class UnsupportedMediaType(InvalidRequest):
    status = 415
    code = "unsupported_media_type"
    title = "The body is of a type that this route does not take"


class ManifestError(InvalidRequest):
    code = "manifest_error"
    title = "The manifest cannot be read"


class TooLarge(InvalidRequest):
    status = 413
    code = "too_large"
    title = "The request is too large"


class Unauthorized(AlaasError):
    status = 401
    code = "unauthorized"
    title = "A valid bearer token is needed"


class Forbidden(AlaasError):
    status = 403
    code = "forbidden"
    title = "That is not allowed from there"


class WrongHost(AlaasError):
    status = 421
    code = "wrong_host"
    title = "This server does not answer to that name"


class NotFound(AlaasError):
    status = 404
    code = "not_found"
    title = "No such thing"


class Conflict(AlaasError):
    status = 409
    code = "conflict"
    title = "That contradicts what is already there"


class TooManyRequests(AlaasError):
    status = 429
    code = "too_many_requests"
    title = "Over the limit"

    def __init__(self, detail: str, *, field: str | None = None, retry_after_s: int = 5) -> None:
        super().__init__(detail, field=field)
        self.retry_after_s = retry_after_s


class ModelError(AlaasError):
    status = 422
    code = "model_error"
    title = "The model cannot be used so"


class SelectionFailed(AlaasError):
    """The same file and request would fail again."""

    status = 422
    code = "selection_failed"
    title = "Nothing could be selected from that file"


class JobFailed(AlaasError):
    """`problem` is the job's own error; None when it was cancelled."""

    code = "job_failed"
    title = "The job did not succeed"

    def __init__(
        self, detail: str, *, field: str | None = None, job_id: str | None = None, problem: Problem | None = None
    ) -> None:
        super().__init__(detail, field=field)
        self.job_id = job_id
        self.problem = problem


class Transient(AlaasError):
    status = 503
    code = "transient"
    title = "Try again"


class Unavailable(Transient):
    code = "unavailable"
    title = "A part of the service is away"

    def __init__(self, detail: str, *, field: str | None = None, retry_after_s: int = 5) -> None:
        super().__init__(detail, field=field)
        self.retry_after_s = retry_after_s


class Timeout(Transient):
    code = "timeout"
    title = "The deadline passed"


class SampleError(AlaasError):
    """One sample cannot be used; the others go on."""

    code = "sample_error"
    title = "A sample cannot be used"

    def __init__(self, sample_code: SampleCode, detail: str = "") -> None:
        super().__init__(detail or sample_code.value)
        self.sample_code = sample_code


class TransientSampleError(SampleError, Transient):
    """Worth another try after a pause; the last try makes it final."""
