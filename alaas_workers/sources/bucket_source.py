"""What gs and az have in common: one obstore store for each bucket, which reads and lists."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions

from alaas.config.sources import CloudStoreConfig
from alaas.errors import SampleCode
from alaas_workers.sources.allow_list import AllowList
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.deadlines import deadline
from alaas_workers.sources.failures import failure
from alaas_workers.sources.object_store import STORES, Store, read_object, store_failure
from alaas_workers.sources.uris import bucket_and_plain_key, is_uri

if TYPE_CHECKING:
    from obstore import ObjectMeta

logger = logging.getLogger(__name__)
PAGE = 1000
"""Objects of one answer of the stores."""


class BucketSource:
    """A scheme says how its store is opened."""

    scheme: str

    def __init__(self, config: CloudStoreConfig, max_bytes: int) -> None:
        self._config = config
        self._max_bytes = max_bytes
        self._allowed = AllowList(config.allow)
        self._store = lru_cache(STORES)(self._opened)

    def open(self, bucket: str) -> Store:
        """Raises one of obstore's errors where the operator's settings do not open it."""
        raise NotImplementedError

    def version(self, uri: str, owner: str) -> str:
        return ""  # an ETag costs a request; a listing tells it with each key

    async def fetch(self, uri: str, owner: str) -> Fetched:
        bucket, key = bucket_and_plain_key(uri)
        self._allowed.check(bucket, key)
        if key.endswith("/") or not key:  # obstore would leave the slash out, and ask for another key
            raise failure(SampleCode.NOT_FOUND)
        async with deadline(self._config):
            return await read_object(self._store(bucket), key, self._max_bytes)

    async def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        bucket, beneath = bucket_and_plain_key(prefix)
        self._allowed.check(bucket, beneath)
        stream, found = obstore.list(self._store(bucket), beneath or None, chunk_size=PAGE), False
        while True:
            async with deadline(self._config):
                page = await _next(stream)
            if page is None:
                break
            files = self._listed(bucket, page)
            found = found or bool(files)
            yield files
        if not found:
            raise failure(SampleCode.NOT_FOUND)

    async def close(self) -> None:
        self._store.cache_clear()

    def _opened(self, bucket: str) -> Store:
        try:
            return self.open(bucket)
        except exceptions.BaseError as error:
            logger.error("%s: its credentials or settings open no store: %s", self.scheme, type(error).__name__)
            raise failure(SampleCode.FORBIDDEN) from None

    def _listed(self, bucket: str, page: Sequence[ObjectMeta]) -> list[Listed]:
        """Without what has no bytes: so consoles mark a folder, and obstore tells none from a file."""
        start = f"{self.scheme}://{bucket}/"
        files = [Listed(start + meta["path"], meta["e_tag"] or "") for meta in page if meta["size"] > 0]
        return [file for file in files if is_uri(file.uri, bucket_and_plain_key)]


async def _next(stream: obstore.ListStream[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta] | None:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None
    except (exceptions.BaseError, FileNotFoundError) as error:
        raise store_failure(error) from None
