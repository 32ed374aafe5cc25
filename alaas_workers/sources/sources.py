"""Reads a chunk's samples at once and in order; the download stage and the dispatcher call nothing else of sources."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from alaas.config import Config
from alaas.errors import ConfigError, SampleCode, SampleError
from alaas_workers.sources.addresses import AddressRules
from alaas_workers.sources.base import Fetched, Listed, ListingSource, Source
from alaas_workers.sources.deadlines import moves_on
from alaas_workers.sources.event_loop import EventLoopThread
from alaas_workers.sources.failures import failure
from alaas_workers.sources.registry import SOURCES, Entry, entry_for, open_source
from alaas_workers.sources.retry import retry_delay_s
from alaas_workers.sources.uris import scheme_of

logger = logging.getLogger(__name__)


class Sources:
    """Every source of one process. Thread-safe; make it after the last fork. Raises ConfigError for a bad range."""

    def __init__(self, config: Config) -> None:
        AddressRules.of(config)  # the operator's mistake shows at the start, not sample by sample
        AddressRules.of_ftp(config)
        self._config = config
        self._loop = EventLoopThread()
        self._lock = threading.Lock()
        self._opened: dict[str, Source] = {}

    def version(self, uri: str, owner: str, listed: str = "") -> str:
        """The version of what is at `uri` now, or "" where nothing is there. Never raises.

        `listed`: what a listing said of it. That stands where the source has no cheap way to ask.
        """
        try:
            entry = entry_for(uri, self._config)
            return self._source(entry).version(uri, owner) if entry.has_versions else listed
        except SampleError:
            return ""

    def is_as_listed(self, uri: str, listed: str, fetched: str) -> bool:
        """False for bytes of another version than a listing told, where nothing but a new listing tells of it.

        `listed` or `fetched` "": nothing is known.
        """
        entry = SOURCES.get(scheme_of(uri))
        return not listed or not fetched or listed == fetched or (entry is not None and entry.has_versions)

    def fetch_all(
        self,
        uris: Sequence[str],
        owner: str,
        on_progress: Callable[[], None] = lambda: None,
        *,
        on_bytes: Callable[[int], None] = lambda size_bytes: None,
    ) -> list[Fetched | SampleError]:
        """The bytes of each URI, or why there are none, in the order of `uris`.

        `on_progress` is called on the event loop's thread when a sample is finished, is to be tried again or waits for
        its turn, and `on_bytes` with the size of each that came. They must return at once; what they raise at the end
        of a sample or try stops the rest and is raised here.
        """
        return self._loop.run(self._fetch_all(uris, owner, on_progress, on_bytes))

    def pages(self, prefix: str, owner: str) -> Iterator[list[Listed]]:
        """What lies beneath `prefix`, a page at a time, in an order that does not change between two listings.

        Raises SampleError: UNKNOWN_SCHEME also for a source that cannot list, else as `fetch`; a page is tried once.
        """
        source = self._source(entry_for(prefix, self._config))
        if not isinstance(source, ListingSource):
            raise failure(SampleCode.UNKNOWN_SCHEME)
        pages = source.pages(prefix, owner)
        try:
            while (page := self._loop.run(_next(pages))) is not None:
                yield page
        finally:
            self._loop.run(pages.aclose())

    def close(self) -> None:
        with self._lock:
            opened, self._opened = list(self._opened.values()), {}
        if opened:
            self._loop.run(_close_all(opened))
        self._loop.close()

    async def _fetch_all(
        self, uris: Sequence[str], owner: str, on_progress: Callable[[], None], on_bytes: Callable[[int], None]
    ) -> list[Fetched | SampleError]:
        results: dict[int, Fetched | SampleError] = {}
        waiting = iter(enumerate(uris))
        moves_on.set(partial(_quietly, on_progress))

        async def take_next() -> None:
            for index, uri in waiting:
                results[index] = result = await self._fetch(uri, owner, on_progress)
                if isinstance(result, Fetched):
                    on_bytes(len(result.data))
                on_progress()

        lanes = min(self._config.sources.concurrency, len(uris))
        tasks = [asyncio.create_task(take_next()) for _ in range(lanes)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [results[index] for index in range(len(uris))]

    async def _fetch(self, uri: str, owner: str, on_progress: Callable[[], None]) -> Fetched | SampleError:
        """One sample, tried as often as its errors allow."""
        for attempt in itertools.count(1):
            try:
                return await self._try(uri, owner)
            except SampleError as error:
                delay_s = retry_delay_s(error, attempt, self._config.sources)
                if delay_s is None:  # a new error, since the caught one holds its frames and their bytes
                    return SampleError(error.sample_code, error.detail)
            on_progress()  # a try that failed is one as well: hosts that hang for all tries are no hang of ours
            await asyncio.sleep(delay_s)
        raise AssertionError("itertools.count ended")

    async def _try(self, uri: str, owner: str) -> Fetched:
        try:
            return await self._source(entry_for(uri, self._config)).fetch(uri, owner)
        except SampleError:
            raise
        except Exception as error:
            # The message may hold the URI, and with it a signature: only where it happened is logged.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("a source broke: %s at\n%s", type(error).__name__, where)
            raise failure(SampleCode.REMOTE_ERROR) from None

    def _source(self, entry: Entry) -> Source:
        with self._lock:
            if entry.target not in self._opened:
                try:
                    self._opened[entry.target] = open_source(entry, self._config)
                except ConfigError as error:
                    raise SampleError(SampleCode.UNKNOWN_SCHEME, error.detail) from error
            return self._opened[entry.target]


def _quietly(on_progress: Callable[[], None]) -> None:
    """What it raises is raised again when the next sample is finished, and is no fault of this one."""
    with suppress(Exception):
        on_progress()


async def _next(pages: AsyncIterator[list[Listed]]) -> list[Listed] | None:
    return await anext(pages, None)


async def _close_all(sources: Sequence[Source]) -> None:
    for source in sources:
        await source.close()
