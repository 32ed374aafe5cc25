from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from alaas_workers.sources import ftp_pool
from alaas_workers.sources.ftp_pool import ServerConnections


class Open:
    """A connection that is always well."""

    is_clean = is_kept = True
    idle_since_s = 0.0

    def is_alive(self) -> bool:
        return True

    def cut(self) -> None: ...

    def discard(self) -> None: ...


async def _opened() -> Any:
    return Open()


def one_connection(threads: ThreadPoolExecutor) -> ServerConnections:
    return ServerConnections(1, _opened, threads)


def test_who_waits_longest_is_served_first_however_often_the_waiting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftp_pool, "TURN_S", 0.1)
    served: list[str] = []

    async def wait(connections: ServerConnections, name: str) -> None:
        async with connections.borrow():
            served.append(name)

    async def run(threads: ThreadPoolExecutor) -> None:
        connections = one_connection(threads)
        async with connections.borrow():
            first = asyncio.create_task(wait(connections, "first"))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(wait(connections, "second"))
            await asyncio.sleep(0.08)  # the first has told by now that it waits, the second has not
        await asyncio.gather(first, second)
        connections.retire()

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(run(threads))
    assert served == ["first", "second"]


def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftp_pool, "TURN_S", 0.01)

    async def run(threads: ThreadPoolExecutor) -> None:
        connections = one_connection(threads)
        for early in (True, False):
            async with connections.borrow():
                given_up = asyncio.create_task(connections.borrow().__aenter__())
                await asyncio.sleep(0.03)
                if early:
                    given_up.cancel()
            if not early:
                given_up.cancel()  # its turn came in the same moment
            await asyncio.wait({given_up})
            async with asyncio.timeout(1), connections.borrow():
                pass
        connections.retire()

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(run(threads))
