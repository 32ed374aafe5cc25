"""ftp:// and ftps://: each sample over one of a few kept connections to its server (docs/ftp.md).

A thread runs each exchange, since only blocking TLS can give a data connection the session of the control connection,
which many servers ask for (docs/adr/0014).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

from alaas.config import Config
from alaas.config.sources import FtpLogin
from alaas.errors import SampleCode
from alaas_workers.sources.addresses import AddressRules
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.deadlines import deadline, moves_on
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.ftp_connection import Connection, wire
from alaas_workers.sources.ftp_failures import Stale
from alaas_workers.sources.ftp_folders import entries_of, files_beneath
from alaas_workers.sources.ftp_listing import Entry
from alaas_workers.sources.ftp_pool import ServerConnections
from alaas_workers.sources.uris import FtpServer, ftp_place

T = TypeVar("T")

THREADS = 128
"""Made as needed: each exchange holds one, and it is `Sources` that says how many run at once."""

MAX_SERVERS = 32
"""Servers with kept connections; of those that are not in use, the one that was asked longest ago gives way."""

MAX_ADDRESSES = 4
"""Of one name, tried one after the other."""

IMPLICIT_TLS_PORT = 990


class FtpSource:
    def __init__(self, config: Config) -> None:
        self._config = config.sources.ftp
        self._max_bytes = config.sources.max_sample_bytes
        self._rules = AddressRules.of_ftp(config)
        self._logins = {ftp_place(login.server).server: login for login in self._config.logins}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="alaas-ftp")
        self._servers: dict[FtpServer, ServerConnections] = {}

    def version(self, uri: str, owner: str) -> str:
        return ""  # SIZE and MDTM cost two round trips, nearly as much as the file itself

    async def fetch(self, uri: str, owner: str) -> Fetched:
        place = ftp_place(uri)
        self._check_allowed(place.server, place.path)
        if place.path.endswith(b"/") or not place.path:
            raise failure(SampleCode.NOT_FOUND)
        path = wire(place.path)
        return Fetched(await self._ask(place.server, lambda connection: connection.read(path, self._max_bytes)), "")

    async def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        """Folder by folder, each read as a whole. Raises SampleError as every source does."""
        place = ftp_place(prefix)
        self._check_allowed(place.server, place.path)
        if place.path and not place.path.endswith(b"/"):
            place = place._replace(path=place.path + b"/")

        async def entries_in(folder: bytes) -> list[Entry]:
            return await self._ask(place.server, partial(entries_of, folder=folder))

        async for page in files_beneath(place, entries_in):
            yield page

    async def close(self) -> None:
        for server in self._servers.values():
            server.retire()
        self._servers.clear()
        self._threads.shutdown(wait=False)

    async def _ask(self, server: FtpServer, call: Callable[[Connection], T]) -> T:
        """One exchange, on a kept connection if there is one that still works."""
        while True:
            async with self._connections(server).borrow() as connection:
                moves_on.get()()  # to get there may have taken as long as what follows
                try:
                    return await self._in_time(partial(call, connection))
                except Stale:
                    continue  # the next one that is kept, in the end a fresh one, which is never stale

    async def _in_time(self, call: Callable[[], T]) -> T:
        async with deadline(self._config):
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _connections(self, server: FtpServer) -> ServerConnections:
        found = self._servers.pop(server, None)
        if found is None:
            found = ServerConnections(self._config.connections, partial(self._open, server), self._threads)
            self._make_room()
        self._servers[server] = found  # to the end: the first is the one that was asked longest ago
        return found

    def _make_room(self) -> None:
        """Forget who is in use or knows of a refused login, and whoever names many servers undoes their limits."""
        unused = [one for one, known in self._servers.items() if not known.is_in_use and one not in self._logins]
        for server in unused[: max(0, len(self._servers) + 1 - MAX_SERVERS)]:
            self._servers.pop(server).retire()

    async def _open(self, server: FtpServer) -> Connection:
        connection = Connection(server.host, self._config)
        addresses = await self._addresses(server)
        login = self._logins.get(server)
        try:
            await self._in_time(partial(self._sign_in, connection, server, addresses, login))
            return connection
        except BaseException:
            connection.cut()
            self._threads.submit(connection.discard)
            raise

    def _sign_in(
        self, connection: Connection, server: FtpServer, addresses: list[tuple[Any, ...]], login: FtpLogin | None
    ) -> None:
        tls = self._tls if server.is_tls else None
        connection.open(addresses, tls, is_implicit=server.is_tls and server.port == IMPLICIT_TLS_PORT)
        if login is None:
            connection.sign_in("anonymous", "anonymous@")
        else:
            connection.sign_in(login.user, login.password.get_secret_value())

    async def _addresses(self, server: FtpServer) -> list[tuple[Any, ...]]:
        """Those that the rules allow, as they were resolved; a socket is connected to nothing else."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                found = await loop.getaddrinfo(server.host.strip("[]"), server.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # with TimeoutError
            raise transient_failure(SampleCode.UNREACHABLE) from None
        rules = self._rules_for(server)
        allowed = [info for info in found if rules.allow(server.host, str(info[4][0]), server.port)]
        if not allowed:
            raise failure(SampleCode.UNREACHABLE)
        return list(allowed[:MAX_ADDRESSES])

    def _rules_for(self, server: FtpServer) -> AddressRules:
        """A server that the operator names with a login may be anywhere but where nothing may be."""
        if server not in self._logins:
            return self._rules
        return replace(self._rules, ports=None, hosts=frozenset({server.host.rstrip(".")}))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _check_allowed(self, server: FtpServer, path: bytes) -> None:
        """A login opens the folders that the operator names with it, and no more. Raises SampleError(NOT_ALLOWED)."""
        login = self._logins.get(server)
        if login is None:
            return
        folders = (prefix.rstrip("/").encode() + b"/" for prefix in login.prefixes)
        if not any((b"/" + path).startswith(folder) for folder in folders):
            raise failure(SampleCode.NOT_ALLOWED)
