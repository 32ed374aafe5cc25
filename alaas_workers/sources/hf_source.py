"""hf://datasets/owner/name@commit/path: files of a HuggingFace dataset, from the hub's local cache, else from the hub.

The hub is the configuration's, and so is the token; nothing that is read is run, and nothing is written to the disk.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]  # not marked as exported

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.allow_list import AllowList
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.deadlines import deadline
from alaas_workers.sources.failures import failure, status_failure, transient_failure
from alaas_workers.sources.uris import dataset_file, is_uri

T = TypeVar("T")
THREADS = 16
MAX_PAGE_BYTES = 16 * 1024 * 1024
"""Of a listing: the hub gives a thousand files at a time."""

_KIND = "dataset"


class HfSource:
    def __init__(self, config: Config) -> None:
        self._config = config.sources.hf
        self._max_bytes = config.sources.max_sample_bytes
        self._allowed = AllowList(self._config.allow)
        self._token = False if self._config.anonymous else None  # None: that of HF_TOKEN or `hf auth login`
        self._hub = (self._config.endpoint or constants.ENDPOINT).rstrip("/")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="alaas-hf")

    def version(self, uri: str, owner: str) -> str:
        return ""  # the URI names the commit, so there is only ever one

    async def fetch(self, uri: str, owner: str) -> Fetched:
        repository, commit, path = dataset_file(uri)
        self._allowed.check(repository, path)
        if path.endswith("/") or not path:
            raise failure(SampleCode.NOT_FOUND)
        data = await self._call(lambda: self._cached(repository, commit, path) or self._asked(repository, commit, path))
        return Fetched(data, "")

    async def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        repository, commit, path = dataset_file(prefix)
        self._allowed.check(repository, path)
        start, found = f"hf://datasets/{repository}@{commit}/", False
        tree = f"{self._hub}/api/datasets/{repository}/tree/{commit}/{quote(path.rstrip('/'))}".rstrip("/")
        address: str | None = f"{tree}?recursive=true"
        while address is not None:
            paths, address = await self._call(partial(self._tree, address))
            files = [Listed(start + path, "") for path in paths if is_uri(start + path, dataset_file)]
            found = found or bool(files)
            yield files
        if not found:
            raise failure(SampleCode.NOT_FOUND)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, function: Callable[[], T]) -> T:
        """On a thread. The network's errors get a fixed code."""
        async with deadline(self._config):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, function)
            except (SampleError, asyncio.CancelledError):
                raise
            except Exception:  # whichever HTTP library huggingface_hub uses raises its own
                raise transient_failure(SampleCode.UNREACHABLE) from None

    def _cached(self, repository: str, commit: str, path: str) -> bytes | None:
        cache = self._config.cache_dir
        found = try_to_load_from_cache(repository, path, cache_dir=cache, revision=commit, repo_type=_KIND)
        if not isinstance(found, str):
            return None
        with Path(found).open("rb") as file:
            return self._judged(file.read(self._max_bytes + 1))

    def _asked(self, repository: str, commit: str, path: str) -> bytes:
        url = hf_hub_url(repository, path, repo_type=_KIND, revision=commit, endpoint=self._hub)
        return self._judged(self._answer(url, self._max_bytes, follow_redirects=True)[0])

    def _answer(self, address: str, max_bytes: int, *, follow_redirects: bool) -> tuple[bytes, str | None]:
        """The body, or its beginning where it is larger than `max_bytes`, and the address of the next page."""
        until, data = time.monotonic() + self._config.total_timeout_s, bytearray()
        with get_session().stream("GET", address, follow_redirects=follow_redirects, **self._request) as answer:
            if answer.status_code != 200:
                raise status_failure(answer.status_code)
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":  # which nobody asked for
                raise failure(SampleCode.REMOTE_ERROR)
            for part in answer.iter_raw():
                data += part
                if time.monotonic() > until:  # nobody waits for it any more
                    raise failure(SampleCode.UNREACHABLE)
                if len(data) > max_bytes:
                    break
            return bytes(data), answer.links.get("next", {}).get("url")

    def _tree(self, address: str) -> tuple[list[str], str | None]:
        """One page of a listing, and where the next is. huggingface_hub's own call repeats its question for minutes."""
        page, following = self._answer(address, MAX_PAGE_BYTES, follow_redirects=False)
        if len(page) > MAX_PAGE_BYTES:
            raise failure(SampleCode.TOO_LARGE)
        if following is not None and not following.startswith(f"{self._hub}/"):  # the token is for the hub alone
            raise failure(SampleCode.REMOTE_ERROR)
        try:
            # Adding refuses a path that is no text.
            return ["" + entry["path"] for entry in json.loads(page) if entry["type"] == "file"], following
        except (ValueError, TypeError, KeyError, RecursionError):
            raise failure(SampleCode.REMOTE_ERROR) from None

    @property
    def _request(self) -> dict[str, Any]:
        read_s = self._config.read_timeout_s
        return {
            "headers": build_hf_headers(token=self._token) | {"Accept-Encoding": "identity"},
            "timeout": (self._config.connect_timeout_s, read_s, read_s, None),
        }

    def _judged(self, data: bytes) -> bytes:
        if len(data) > self._max_bytes:
            raise failure(SampleCode.TOO_LARGE)
        if not data:
            raise failure(SampleCode.EMPTY)
        return data
