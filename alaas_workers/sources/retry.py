"""When a sample is tried again: a pure function of its error and of how often it was tried."""

from __future__ import annotations

from alaas.config.sources import SourcesConfig
from alaas.errors import SampleError, Transient
from alaas_workers.sources.failures import RetryLater

MAX_DELAY_S = 10.0
"""No pause is longer, whatever the remote asks for: the chunk's other samples wait, and so does its lease."""


def retry_delay_s(error: SampleError, attempt: int, config: SourcesConfig) -> float | None:
    """Seconds to wait after the failed try number `attempt` (from 1), or None to give up."""
    if not isinstance(error, Transient) or attempt >= config.attempts:
        return None
    delay_s: float = config.retry_delay_s * 2 ** (attempt - 1)
    if isinstance(error, RetryLater):
        delay_s = max(delay_s, error.retry_after_s)
    return min(delay_s, MAX_DELAY_S)
