"""A canary on loopback: a public server must never touch it, however its address is spelled or come by."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from alaas.config import Config
from alaas.errors import SampleCode, SampleError, Transient
from alaas_workers.sources import Fetched
from alaas_workers.sources.http_source import HttpSource
from tests.support.source_configs import personal, public
from tests.support.web_server import WebServer, answer

SPELLINGS = [
    *["127.0.0.1", "127.0.0.2", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1"],
    *["0x7f.1", "0x7f000001", "0x7f.0x0.0x0.0x1", "0", "0.0.0.0", "0x0", "00", "٠"],
    *["localhost", "LOCALHOST", "localhost.", "ip6-localhost", "a.localhost", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ"],
    *["①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1"],
    *["[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"],
    *["[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[::1%lo]", "[::1%25lo]"],
    *["localhost%00", "localhost%2f", "127.0.0.1%23@example.invalid", "example.invalid@127.0.0.1"],
]
REACHABLE = [
    *["127.0.0.1", "localhost", "localhost.", "0x7f.1", "0x7f000001", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1"],
    *["[::1]", "[::ffff:127.0.0.1]"],
]


@pytest.fixture(autouse=True)
def _no_query_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that tells loopback is loopback, whatever this machine's resolver says; no other name exists."""
    real = socket.getaddrinfo

    def local(host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if "localhost" in host.lower():
            return real("127.0.0.1", port, family, type, proto)
        return real(host, port, family, type, proto, socket.AI_NUMERICHOST)

    monkeypatch.setattr(socket, "getaddrinfo", local)


class Stub(AbstractResolver):
    """Answers a name with one list of addresses after the other, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.lookups += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def loopback() -> Iterator[WebServer]:
    """Listens on 127.0.0.1, 127.0.0.2 and, where there is one, ::1; all count on the first."""
    with WebServer({"*": answer(b"secret")}) as first:
        others = [WebServer(first.routes, host, first.port) for host in ("127.0.0.2", "::1") if _exists(host)]
        for other in others:
            other.serve = first.serve  # type: ignore[method-assign]
            other.__enter__()
        yield first
        for other in others:
            other.__exit__()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[WebServer]:
    with WebServer(host="127.0.0.9") as server:
        yield server


@pytest.fixture
def canary(loopback: WebServer) -> WebServer:
    loopback.connections = 0
    loopback.requests.clear()
    return loopback


@pytest.fixture
def site(elsewhere: WebServer) -> WebServer:
    """Stands for a public site: 127.0.0.9 is allowed by the operator."""
    elsewhere.connections = 0
    elsewhere.requests.clear()
    elsewhere.routes.clear()
    return elsewhere


@pytest.fixture
def server_config(tmp_path: Path, canary: WebServer, site: WebServer) -> Config:
    return public(tmp_path, http={"ports": [canary.port, site.port], "allow_hosts": ["127.0.0.9/32"]})


def _exists(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.bind((host, 0))
    except OSError:
        return False
    return True


def fetch(config: Config, *uris: str, resolver: Any = None) -> list[bytes | SampleCode]:
    async def all_of_them() -> list[bytes | SampleCode]:
        source = HttpSource(config, resolver)
        try:
            return [await one(source, uri) for uri in uris]
        finally:
            await source.close()

    async def one(source: HttpSource, uri: str) -> bytes | SampleCode:
        try:
            fetched: Fetched = await source.fetch(uri, "me")
            return fetched.data
        except SampleError as error:
            return error.sample_code

    return asyncio.run(all_of_them())


async def error_of(config: Config, uri: str) -> SampleError:
    source = HttpSource(config)
    with pytest.raises(SampleError) as caught:
        await source.fetch(uri, "me")
    await source.close()
    return caught.value


@pytest.mark.parametrize("host", REACHABLE)
def test_these_spellings_do_reach_the_canary_of_ones_own_machine(host: str, canary: WebServer, tmp_path: Path) -> None:
    if "::1]" in host and not _exists("::1"):
        pytest.skip("this machine has no IPv6 loopback")
    assert fetch(personal(tmp_path), f"http://{host}:{canary.port}/") == [b"secret"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_reaches_the_canary(host: str, canary: WebServer, server_config: Config) -> None:
    (result,) = fetch(server_config, f"http://{host}:{canary.port}/")
    assert result in (SampleCode.UNREACHABLE, SampleCode.BAD_URI)
    assert canary.connections == 0


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_redirect_reaches_the_canary(host: str, canary: WebServer, site: WebServer, server_config: Config) -> None:
    site.routes["/"] = answer(b"", "302 Found", Location=f"http://{host}:{canary.port}/")
    (result,) = fetch(server_config, site.uri("/"))
    assert len(site.requests) == 1
    assert result in (SampleCode.UNREACHABLE, SampleCode.REMOTE_ERROR)
    assert canary.connections == 0


def test_a_redirect_to_a_blocked_address_reads_as_unreachable(
    canary: WebServer, site: WebServer, server_config: Config
) -> None:
    site.routes["/"] = answer(b"", "307 Temporary", Location=canary.uri("/"))
    assert fetch(server_config, site.uri("/")) == [SampleCode.UNREACHABLE]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "127.1", "169.254.169.254"])
def test_no_name_that_resolves_there_reaches_the_canary(address: str, canary: WebServer, server_config: Config) -> None:
    uri = f"http://rebind.invalid:{canary.port}/"
    assert fetch(server_config, uri, resolver=Stub([address])) == [SampleCode.UNREACHABLE]
    assert canary.connections == 0


def test_a_name_is_resolved_once_and_connected_to_where_it_was_judged(
    canary: WebServer, site: WebServer, server_config: Config
) -> None:
    site.routes["*"] = answer(b"public")
    resolver = Stub(["127.0.0.9"], ["127.0.0.1"])
    assert fetch(server_config, f"http://rebind.invalid:{site.port}/", resolver=resolver) == [b"public"]
    assert resolver.lookups == 1
    assert fetch(server_config, f"http://rebind.invalid:{canary.port}/", resolver=resolver) == [SampleCode.UNREACHABLE]
    assert canary.connections == 0


def test_a_name_that_rebinds_between_two_hops_is_judged_at_each(
    canary: WebServer, site: WebServer, server_config: Config
) -> None:
    site.routes["/"] = answer(b"", "302 Found", Location=f"http://rebind.invalid:{canary.port}/secret")
    uri = f"http://rebind.invalid:{site.port}/"
    resolver = Stub(["127.0.0.9"], ["127.0.0.1"])
    assert fetch(server_config, uri, resolver=resolver) == [SampleCode.UNREACHABLE]
    assert resolver.lookups == 2 and len(site.requests) == 1
    assert canary.connections == 0


def test_of_mixed_addresses_only_the_allowed_are_tried(
    canary: WebServer, site: WebServer, server_config: Config
) -> None:
    site.routes["*"] = answer(b"public")
    resolver = Stub(["127.0.0.1", "::1", "127.0.0.9", "127.0.0.2"])
    uri = f"http://mixed.invalid:{site.port}/"
    assert fetch(server_config, uri, resolver=resolver) == [b"public"]
    assert canary.connections == 0


def test_a_listed_name_opens_its_address_to_no_other_name(canary: WebServer, tmp_path: Path) -> None:
    config = public(tmp_path, http={"ports": [canary.port], "allow_hosts": ["images.corp"]})
    uris = [f"http://{host}:{canary.port}/" for host in ("images.corp", "127.0.0.1", "other.corp", "images.corp")]
    assert fetch(config, *uris, resolver=Stub(["127.0.0.1"])) == [
        b"secret", SampleCode.UNREACHABLE, SampleCode.UNREACHABLE, b"secret",
    ]  # fmt: skip


@pytest.mark.parametrize(("port_is_open", "is_transient"), [(True, False), (False, True)])
def test_what_is_blocked_is_not_tried_again_and_what_is_refused_is(
    port_is_open: bool, is_transient: bool, canary: WebServer, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        config = public(tmp_path) if port_is_open else personal(tmp_path)
        port = canary.port if port_is_open else closed.getsockname()[1]
        error = asyncio.run(error_of(config, f"http://127.0.0.1:{port}/"))
    assert isinstance(error, Transient) is is_transient


def test_a_port_that_is_not_listed_is_not_reached(canary: WebServer, site: WebServer, tmp_path: Path) -> None:
    config = public(tmp_path, http={"allow_hosts": ["127.0.0.0/8"]})
    assert fetch(config, canary.uri("/")) == [SampleCode.UNREACHABLE]
    assert canary.connections == 0
