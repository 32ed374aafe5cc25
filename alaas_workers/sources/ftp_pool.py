"""The connections to one FTP server: lent one at a time, kept between samples and chunks, never more than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress

from alaas.errors import SampleCode
from alaas_workers.sources.deadlines import moves_on
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.ftp_connection import Connection
from alaas_workers.sources.ftp_failures import Refused

IDLE_S = 20.0
"""Between two chunks of a job there may be seconds; a server gives a silent user minutes."""

PAUSE_S = 20.0
"""How long a server that was full, or that refused the login, is not asked again."""

TURN_S = 5.0
"""Between two words of a sample that waits for a connection."""


class ServerConnections:
    """For use on one event loop. `open_connection` gives one that is signed in; `threads` close those let go."""

    def __init__(self, limit: int, open_connection: Callable[[], Awaitable[Connection]], threads: Executor) -> None:
        self._permits = asyncio.Semaphore(limit)
        self._open_connection = open_connection
        self._threads = threads
        self._idle: list[Connection] = []
        self._opened = 0
        self._no_login_until_s = 0.0
        self._is_retired = False
        self._sweep: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """A connection for one exchange. Raises SampleError."""
        connection = await self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    @property
    def is_in_use(self) -> bool:
        """Whether a connection is lent, or about to be opened."""
        return self._opened > len(self._idle)

    def retire(self) -> None:
        """Close what is idle, and later what is lent."""
        self._is_retired = True
        self._close_idle()

    async def _take(self) -> Connection:
        while True:
            await self._wait_for_turn()
            connection = self._kept()
            if connection is not None:
                return connection
            self._opened += 1
            try:
                return await self._open()
            except BaseException as error:
                self._opened -= 1
                if isinstance(error, Refused) and error.is_full and self._opened:
                    # Fewer are allowed than we wanted: wait for one of those that we have.
                    asyncio.get_running_loop().call_later(PAUSE_S, self._permits.release)
                    continue
                self._permits.release()
                if isinstance(error, Refused):
                    raise self._refusal(error) from None
                raise

    async def _wait_for_turn(self) -> None:
        """As long as it takes, first come, first served: those before have a deadline each."""
        turn = asyncio.ensure_future(self._permits.acquire())
        try:
            while not (await asyncio.wait({turn}, timeout=TURN_S))[0]:
                moves_on.get()()
        except BaseException:
            if not turn.cancel():  # it came at the last moment
                self._permits.release()
            raise

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive():
                return connection
            self._drop(connection)
        return None

    async def _open(self) -> Connection:
        if asyncio.get_running_loop().time() < self._no_login_until_s:
            raise failure(SampleCode.FORBIDDEN)  # servers lock out whoever comes with a wrong password often
        return await self._open_connection()

    def _refusal(self, error: Refused) -> Exception:
        if error.is_full:
            return transient_failure(SampleCode.REMOTE_ERROR)
        self._no_login_until_s = asyncio.get_running_loop().time() + PAUSE_S
        return failure(SampleCode.FORBIDDEN)

    def _give_back(self, connection: Connection) -> None:
        self._permits.release()
        if self._is_retired or not connection.is_clean:
            self._drop(connection)
            return
        loop = asyncio.get_running_loop()
        connection.is_kept = True
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        """Close those that nobody wanted for a while; all of them once retired."""
        loop = asyncio.get_running_loop()
        since_s = loop.time() + 1 if self._is_retired else loop.time() - IDLE_S
        for connection in [one for one in self._idle if one.idle_since_s <= since_s]:
            self._idle.remove(connection)
            self._drop(connection)
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep = loop.call_later(IDLE_S / 4, self._close_idle) if self._idle else None

    def _drop(self, connection: Connection) -> None:
        self._opened -= 1
        connection.cut()
        with suppress(RuntimeError):  # after `close` there is no thread for it: whoever uses it closes it
            self._threads.submit(connection.discard)
