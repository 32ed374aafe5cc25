"""Waiting for a job's end, with bars for whoever looks on; it outlives a server that is away for a while."""

from __future__ import annotations

import time

import httpx

from alaas.calls import DEFAULT_SERVER, Calls, job_segment
from alaas.errors import InvalidRequest, JobFailed, Timeout, TooManyRequests, Transient
from alaas.jobs import Job, JobState
from alaas.progress import StageBars

PATIENCE_S = 120.0  # a server that is away for so long ends a wait that has no timeout


class Waiting(Calls):
    """`progress`: True, False, or None for "when a person looks on"."""

    def __init__(
        self,
        al_server_url: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        progress: bool | None = None,
    ) -> None:
        super().__init__(al_server_url, token=token, timeout_s=timeout_s, transport=transport)
        self.progress = progress

    def wait(self, job: Job | str, timeout_s: float | None = None, *, progress: bool | None = None) -> Job:
        """Wait until the job ends, with a bar for each stage. Raises JobFailed, or Timeout (the job goes on)."""
        if not isinstance(job, Job | str):
            raise InvalidRequest(f"expected a job or its id (got {job!r:.80})", field="job")
        started = heard = time.monotonic()
        with StageBars(self.progress if progress is None else progress) as bars:
            while True:
                waited_s = time.monotonic() - started
                try:
                    job = self._http.look(f"/v1/jobs/{job_segment(job)}", Job)
                    heard = time.monotonic()
                    bars.show(job)
                    if job.state.is_terminal:
                        return _succeeded(job)
                except (Transient, TooManyRequests):
                    # The server may come back, and the job goes on without it.
                    if timeout_s is None and time.monotonic() - heard > PATIENCE_S:
                        raise
                if timeout_s is not None and waited_s >= timeout_s:
                    raise Timeout(f"the job did not end within {timeout_s:g} s; it goes on")
                time.sleep(poll_pause_s(waited_s, timeout_s))


def poll_pause_s(waited_s: float, timeout_s: float | None = None) -> float:
    """Seconds to the next look at a job: a twentieth of what was waited, so that short jobs return at once."""
    pause = min(2.0, 0.02 + waited_s / 20)
    return pause if timeout_s is None else max(0.01, min(pause, timeout_s - waited_s))


def _succeeded(job: Job) -> Job:
    if job.state is JobState.SUCCEEDED:
        return job
    detail = job.error.detail if job.error else f"the job was {job.state.value}"
    raise JobFailed(detail, field=job.error.field if job.error else None, job_id=job.id, problem=job.error)
