"""The time that one sample, or one page of a listing, may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alaas.config.schema import RemoteSourceConfig
from alaas.errors import SampleCode
from alaas_workers.sources.failures import failure


@asynccontextmanager
async def deadline(config: RemoteSourceConfig) -> AsyncIterator[None]:
    """Raises SampleError(UNREACHABLE) when the time is up: whoever drips for so long will do so again."""
    try:
        async with asyncio.timeout(config.total_timeout_s):
            yield
    except TimeoutError:
        raise failure(SampleCode.UNREACHABLE) from None
