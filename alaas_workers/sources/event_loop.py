"""One event loop on a thread of its own: worker threads hand it coroutines and wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Running = tuple[asyncio.AbstractEventLoop, asyncio.Event]

LOOKUPS = 128
"""Threads that resolve names, made as needed: the default, cores + 4, is soon held by names without an answer."""


class EventLoopThread:
    """Starts at the first `run`. Not to be carried over a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: Running | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and give its result; when the caller is interrupted, it is cancelled."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and stop."""
        with self._lock:
            thread, running = self._thread, self._running
            self._thread = self._running = None
        if thread is not None and running is not None:
            loop, stop = running
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None:
                ready: Future[Running] = Future()
                self._thread = threading.Thread(
                    target=asyncio.run, args=(_serve(ready),), name="alaas-sources", daemon=True
                )
                self._thread.start()
                self._running = ready.result()
            return self._running[0]


async def _serve(ready: Future[Running]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(LOOKUPS, thread_name_prefix="alaas-lookup"))
    ready.set_result((loop, stop))
    await stop.wait()
