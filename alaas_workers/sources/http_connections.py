"""The one aiohttp session of the http source: every socket that it opens passes the address rules first.

The judgement stands where the socket is made, on the very address that is connected to next. So it holds for names,
literal addresses, redirects and names that resolve to something else the second time (docs/adr/0003).
"""

from __future__ import annotations

import socket
import ssl
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractResolver

from alaas.config.sources import HttpSourceConfig
from alaas_workers.sources.addresses import AddressRules

asked_host: ContextVar[str] = ContextVar("asked_host", default="")
"""The host that the URI of this hop names: operators may list hosts by name."""

IDLE_S = 3.0
"""A chunk's requests follow each other closely; a pool over many hosts must not pile up idle connections."""

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class Blocked(OSError):
    """The address rules forbid this connection. An OSError, so that aiohttp treats it as a refused one."""


class Gate:
    """Makes the sockets, for allowed addresses only."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules

    def socket(self, info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not self._rules.allow(asked_host.get(), str(address[0]), int(str(address[1]))):
            raise Blocked("blocked")
        return socket.socket(family, kind, protocol)


def open_session(
    config: HttpSourceConfig, rules: AddressRules, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """A session without proxies, cookies, credentials or decompression; call it on the loop that will use it."""
    connector = aiohttp.TCPConnector(
        resolver=resolver or aiohttp.ThreadedResolver(),
        socket_factory=Gate(rules).socket,
        ssl=ssl.create_default_context(),
        limit=0,  # how many run at once is `Sources`' to say
        keepalive_timeout=IDLE_S,
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=config.connect_timeout_s, sock_read=config.read_timeout_s)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "alaas"},
    )


def is_blocked(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, Blocked)
