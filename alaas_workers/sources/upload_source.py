"""upload://<sha256>: bytes that a client sent through the API, kept by owner and content in `Config.uploads_dir`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from alaas.config import Config
from alaas_workers.sources.base import Fetched
from alaas_workers.sources.beneath import Roots, read_beneath
from alaas_workers.sources.file_source import READERS
from alaas_workers.sources.uris import upload_digest


def upload_path(config: Config, owner: str, sha256: str) -> Path:
    """Where the bytes of that content are kept for that owner. Raises SampleError(BAD_URI) unless 64 hex digits."""
    digest = upload_digest(f"upload://{sha256}")
    folder = blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return config.uploads_dir / folder / digest[:2] / digest


class UploadSource:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._roots = Roots((config.uploads_dir,))
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="alaas-uploads")

    def version(self, uri: str, owner: str) -> str:
        return ""  # the URI names the content, so there is only ever one

    async def fetch(self, uri: str, owner: str) -> Fetched:
        path = str(upload_path(self._config, owner, upload_digest(uri)))
        loop = asyncio.get_running_loop()
        max_bytes = self._config.sources.max_sample_bytes
        fetched = await loop.run_in_executor(self._threads, read_beneath, self._roots, path, max_bytes)
        return replace(fetched, version="")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
