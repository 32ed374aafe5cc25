"""data: (RFC 2397): the bytes stand in the URI itself, as a short text of a query does. Touches nothing."""

from __future__ import annotations

from alaas.config import Config
from alaas.errors import SampleCode
from alaas_workers.sources.base import Fetched
from alaas_workers.sources.failures import failure
from alaas_workers.sources.uris import data_content


class DataSource:
    def __init__(self, config: Config) -> None:
        self._max_bytes = config.sources.max_sample_bytes

    def version(self, uri: str, owner: str) -> str:
        return ""  # the URI names the content, so there is only ever one

    async def fetch(self, uri: str, owner: str) -> Fetched:
        data = data_content(uri)
        if len(data) > self._max_bytes:
            raise failure(SampleCode.TOO_LARGE)
        if not data:
            raise failure(SampleCode.EMPTY)
        return Fetched(data, "")

    async def close(self) -> None: ...
