"""upload://<sha256>: bytes that a client sent through the API, kept by owner and content in `Config.uploads_dir`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO

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


def keep_upload(config: Config, owner: str, data: bytes) -> str:
    """Keep `data` for `owner` as if it had been sent up; its URI. Raises OSError."""
    path = upload_path(config, owner, sha256(data).hexdigest())
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary_beside(path) as file:
            file.write(data)
            file.flush()
            os.replace(file.name, path)
    return f"upload://{path.name}"


@contextmanager
def temporary_beside(path: Path) -> Iterator[IO[bytes]]:
    """A file in the folder of `path`, to be renamed to it when it is whole; it is gone at the end unless it was."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".incoming-", delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


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
