"""The time that one sample, or one page of a listing, may take; and a word while it waits for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from alaas.config.sources import RemoteSourceConfig
from alaas.errors import SampleCode
from alaas_workers.sources.failures import failure

moves_on: ContextVar[Callable[[], None]] = ContextVar("moves_on", default=lambda: None)
"""To be called where a sample waits for others, or between two parts that have a deadline each: it does not hang."""


@asynccontextmanager
async def deadline(config: RemoteSourceConfig) -> AsyncIterator[None]:
    """Raises SampleError(UNREACHABLE) when the time is up: whoever drips for so long will do so again."""
    try:
        async with asyncio.timeout(config.total_timeout_s):
            yield
    except TimeoutError:
        raise failure(SampleCode.UNREACHABLE) from None
