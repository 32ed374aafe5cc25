"""Why a sample cannot be read: one fixed sentence for each code, so that no host, path or remote body gets out.

Reports are compared byte for byte between runs; a sentence with a changing part would break that too.
"""

from __future__ import annotations

from alaas.errors import SampleCode, SampleError, TransientSampleError

DETAILS = {
    SampleCode.BAD_URI: "this is not a URI that can be read, or it holds credentials",
    SampleCode.UNKNOWN_SCHEME: "no source serves this scheme",
    SampleCode.NOT_ALLOWED: "outside the folders and allow-lists of this server, or not a regular file",
    SampleCode.NOT_FOUND: "there is nothing at this URI",
    SampleCode.FORBIDDEN: "reading it is forbidden",
    SampleCode.UNREACHABLE: "the host cannot be reached",
    SampleCode.REMOTE_ERROR: "the remote failed to give it",
    SampleCode.TOO_LARGE: "it has more bytes than the configured limit",
    SampleCode.EMPTY: "it has no bytes",
    SampleCode.UNSTABLE: "it changed while it was read",
}


class RetryLater(TransientSampleError):
    """The remote named the pause, in seconds, that it wants before the next try."""

    def __init__(self, sample_code: SampleCode, detail: str, retry_after_s: float) -> None:
        super().__init__(sample_code, detail)
        self.retry_after_s = retry_after_s


def failure(code: SampleCode) -> SampleError:
    """The error of a sample that no further try will bring."""
    return SampleError(code, DETAILS[code])


def transient_failure(code: SampleCode, retry_after_s: float | None = None) -> TransientSampleError:
    """The error of a sample that is worth another try."""
    if retry_after_s is None:
        return TransientSampleError(code, DETAILS[code])
    return RetryLater(code, DETAILS[code], retry_after_s)


def status_failure(status: int) -> SampleError:
    """What an HTTP status other than 200 says of one object."""
    if status in (401, 403):
        return failure(SampleCode.FORBIDDEN)
    if status in (404, 410):
        return failure(SampleCode.NOT_FOUND)
    if status >= 500 or status in (408, 429):
        return transient_failure(SampleCode.REMOTE_ERROR)
    return failure(SampleCode.REMOTE_ERROR)
