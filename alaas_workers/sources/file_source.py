"""file:///... and bare absolute paths: regular files beneath the configured roots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from alaas.config import Config
from alaas.errors import SampleError
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.beneath import Roots, read_beneath, version_beneath
from alaas_workers.sources.uris import local_path
from alaas_workers.sources.walking import pages_beneath

READERS = 4
"""Threads that read: a disk that hangs must not stop the event loop, which serves the other sources too."""


class FileSource:
    def __init__(self, config: Config) -> None:
        # The data folder holds secrets and other owners' uploads, and the default root holds the data folder.
        self._roots = Roots(tuple(config.file_roots), private=config.storage.data_dir.expanduser().resolve())
        self._max_bytes = config.sources.max_sample_bytes
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="alaas-files")

    def version(self, uri: str, owner: str) -> str:
        try:
            return version_beneath(self._roots, local_path(uri))
        except SampleError:
            return ""

    async def fetch(self, uri: str, owner: str) -> Fetched:
        path = local_path(uri)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, read_beneath, self._roots, path, self._max_bytes)

    async def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        loop = asyncio.get_running_loop()
        pages = pages_beneath(self._roots, local_path(prefix))
        try:
            while (page := await loop.run_in_executor(self._threads, next, pages, None)) is not None:
                yield page
        finally:
            await loop.run_in_executor(self._threads, pages.close)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
