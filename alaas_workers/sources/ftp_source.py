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
from alaas.config.schema import FtpLogin
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import ftp_listing
from alaas_workers.sources.addresses import AddressRules
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.ftp_connection import Connection, Stale, wire
from alaas_workers.sources.ftp_pool import ServerConnections
from alaas_workers.sources.uris import FtpPlace, FtpServer, ftp_place, ftp_uri, scheme_of

T = TypeVar("T")

THREADS = 128
"""Made as needed: each exchange holds one, and it is `Sources` that says how many run at once."""

MAX_SERVERS = 32
"""Servers with kept connections; the one that was asked longest ago gives way."""

MAX_ADDRESSES = 4
"""Of one name, tried one after the other."""

IMPLICIT_TLS_PORT = 990
MAX_LISTING_BYTES = 64 * 1024 * 1024
MAX_FOLDERS = 100_000
MAX_DEPTH = 32
PAGE = 1000


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
        """Folder by folder, files before folders, each by name. Raises SampleError as every source does."""
        place = ftp_place(prefix)
        self._check_allowed(place.server, place.path)
        top = place.path if place.path.endswith(b"/") or not place.path else place.path + b"/"
        found_any = False
        async for files in self._walk(place.server, top):
            for start in range(0, len(files), PAGE):
                found_any = True
                yield files[start : start + PAGE]
        if not found_any:
            raise failure(SampleCode.NOT_FOUND)

    async def close(self) -> None:
        for server in self._servers.values():
            server.retire()
        self._servers.clear()
        self._threads.shutdown(wait=False)

    async def _walk(self, server: FtpServer, top: bytes) -> AsyncGenerator[list[Listed]]:
        waiting, seen = [(top, 0)], set[str]()
        folders = 0
        while waiting:
            folder, depth = waiting.pop()
            entries = await self._ask(server, partial(_entries, folder=folder))
            named = [(ftp_uri(FtpPlace(server, folder + entry.name)), entry) for entry in entries]
            yield [Listed(uri, entry.version) for uri, entry in named if not entry.is_folder and _is_readable(uri)]
            inner = [
                entry for uri, entry in named if entry.is_folder and entry.identity not in seen and _is_readable(uri)
            ]
            seen.update(entry.identity for entry in inner if entry.identity)
            folders += len(inner)
            if inner and (depth == MAX_DEPTH or folders > MAX_FOLDERS):
                raise failure(SampleCode.REMOTE_ERROR)  # links in a loop, or a server that makes folders up
            waiting.extend((folder + entry.name + b"/", depth + 1) for entry in reversed(inner))

    async def _ask(self, server: FtpServer, call: Callable[[Connection], T]) -> T:
        """One exchange, on a kept connection if there is one that still works."""
        while True:
            async with self._connections(server).borrow() as connection:
                try:
                    return await self._in_time(connection, partial(call, connection))
                except Stale:
                    continue  # the next one that is kept, in the end a fresh one, which is never stale

    async def _in_time(self, connection: Connection, call: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._config.total_timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError:  # whoever drips for so long will do so again
            raise failure(SampleCode.UNREACHABLE) from None

    def _connections(self, server: FtpServer) -> ServerConnections:
        found = self._servers.pop(server, None)
        if found is None:
            found = ServerConnections(self._config.connections, partial(self._open, server), self._threads)
        self._servers[server] = found  # to the end: the first is the one that was asked longest ago
        if len(self._servers) > MAX_SERVERS:
            self._servers.pop(next(iter(self._servers))).retire()
        return found

    async def _open(self, server: FtpServer) -> Connection:
        connection = Connection(server.host, self._config)
        addresses = await self._addresses(server)
        login = self._logins.get(server)
        try:
            await self._in_time(connection, partial(self._sign_in, connection, server, addresses, login))
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


def _is_readable(uri: str) -> bool:
    try:
        return scheme_of(uri) != "" and ftp_place(uri).path != b""
    except SampleError:
        return False


def _entries(connection: Connection, folder: bytes) -> list[ftp_listing.Entry]:
    asked = wire(folder.rstrip(b"/") or folder)
    facts = connection.list_facts(asked, MAX_LISTING_BYTES)
    if facts is not None:
        return ftp_listing.from_facts(facts)
    return ftp_listing.from_lines(connection.list_lines(asked, MAX_LISTING_BYTES))
