"""The http source against servers that misbehave, on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import Fetched, Sources
from alaas_workers.sources.failures import DETAILS
from alaas_workers.sources.http_source import HttpSource
from tests.support.source_configs import QUICK, personal
from tests.support.web_server import Request, WebServer, answer


def fetch_all(config: Config, uris: list[str]) -> list[Any]:
    sources = Sources(config)
    try:
        return sources.fetch_all(uris, "me")
    finally:
        sources.close()


def outcome(config: Config, uri: str) -> bytes | SampleCode:
    (result,) = fetch_all(config, [uri])
    return result.data if isinstance(result, Fetched) else result.sample_code


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return personal(tmp_path, max_sample_bytes=100_000)


def drip(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not request.stopping.wait(0.05):
        request.send(b"x")


def silence(request: Request) -> None:
    request.stopping.wait()


def reset_in_body(request: Request) -> None:
    request.send(answer(b"x" * 1000, Content_Length="2000"))
    request.reset()


def hang_up_in_body(request: Request) -> None:
    request.send(answer(b"x" * 1000, Content_Length="2000"))
    request.closing = True


def hang_up(request: Request) -> None:
    request.closing = True


def endless(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not request.stopping.is_set():
        request.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


FAULTS = {
    "drips beyond the total time": (drip, SampleCode.UNREACHABLE, 1),
    "never answers": (silence, SampleCode.UNREACHABLE, 2),
    "resets in the body": (reset_in_body, SampleCode.REMOTE_ERROR, 2),
    "promises more than it sends": (hang_up_in_body, SampleCode.REMOTE_ERROR, 2),
    "hangs up": (hang_up, SampleCode.UNREACHABLE, 4),  # aiohttp takes the connection for a stale one, and asks twice
    "never ends": (endless, SampleCode.TOO_LARGE, 1),
    "promises too much": (answer(b"x", Content_Length="100001"), SampleCode.TOO_LARGE, 1),
    "speaks something else": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", SampleCode.REMOTE_ERROR, 1),
    "has a wrong length": (answer(b"x", Content_Length="-5"), SampleCode.REMOTE_ERROR, 1),
    "sends a huge header": (answer(b"x", A="y" * 100_000), SampleCode.REMOTE_ERROR, 1),
    "sends compressed bytes unasked": (
        answer(gzip.compress(b"\0" * 50_000_000, 1)[:50_000], Content_Encoding="gzip"),
        SampleCode.REMOTE_ERROR,
        1,
    ),
    "redirects in a loop": (answer(b"", "302 Found", Location="/"), SampleCode.REMOTE_ERROR, 4),
    "redirects nowhere": (answer(b"", "302 Found"), SampleCode.REMOTE_ERROR, 1),
    "redirects to a file": (answer(b"", "302 Found", Location="file:///etc/hostname"), SampleCode.REMOTE_ERROR, 1),
    "redirects with credentials": (answer(b"", "302 Found", Location="//a:b@127.0.0.1/"), SampleCode.REMOTE_ERROR, 1),
    "redirects to nonsense": (answer(b"", "302 Found", Location="http://["), SampleCode.REMOTE_ERROR, 1),
}


@pytest.mark.parametrize(("route", "expected", "requests"), FAULTS.values(), ids=FAULTS)
def test_a_server_that(route: Any, expected: SampleCode, requests: int, tmp_path: Path) -> None:
    config = personal(tmp_path, max_sample_bytes=100_000, http=QUICK if route in (drip, silence) else {})
    with WebServer({"/": route}) as server:
        started = time.monotonic()
        (result,) = fetch_all(config, [server.uri("/")])
        assert time.monotonic() - started < 4
        assert isinstance(result, SampleError) and result.sample_code is expected
        assert result.detail == DETAILS[expected]
        assert len(server.requests) == requests


STATUSES = {
    "204 No Content": (SampleCode.REMOTE_ERROR, 1),
    "206 Partial Content": (SampleCode.REMOTE_ERROR, 1),
    "304 Not Modified": (SampleCode.REMOTE_ERROR, 1),
    "400 Bad Request": (SampleCode.REMOTE_ERROR, 1),
    "401 Unauthorized": (SampleCode.FORBIDDEN, 1),
    "403 Forbidden": (SampleCode.FORBIDDEN, 1),
    "404 Not Found": (SampleCode.NOT_FOUND, 1),
    "408 Request Timeout": (SampleCode.REMOTE_ERROR, 2),
    "410 Gone": (SampleCode.NOT_FOUND, 1),
    "418 Teapot": (SampleCode.REMOTE_ERROR, 1),
    "429 Too Many Requests": (SampleCode.REMOTE_ERROR, 2),
    "500 Oops": (SampleCode.REMOTE_ERROR, 2),
    "503 Service Unavailable": (SampleCode.REMOTE_ERROR, 2),
}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items(), ids=STATUSES)
def test_a_status_is_one_code(status: str, expected: tuple[SampleCode, int], config: Config) -> None:
    with WebServer({"*": answer(b"<html>secret</html>", status)}) as server:
        (result,) = fetch_all(config, [server.uri("/")])
        assert (result.sample_code, len(server.requests)) == expected
        assert result.detail == DETAILS[result.sample_code]


def test_what_recovers_is_read_at_another_try(config: Config) -> None:
    def at_second(request: Request) -> None:
        ok = len(server.requests) > 1
        request.send(answer(b"there") if ok else answer(b"", "503 Busy", Retry_After="0"))

    with WebServer({"*": at_second}) as server:
        assert outcome(config, server.uri("/")) == b"there"


def test_the_pause_that_a_busy_server_asks_for_is_kept(config: Config) -> None:
    with WebServer({"*": answer(b"", "429 Busy", Retry_After="1")}) as server:
        started = time.monotonic()
        assert outcome(config, server.uri("/")) is SampleCode.REMOTE_ERROR
        assert 1 <= time.monotonic() - started < 5


def test_redirects_are_followed_up_to_the_limit(config: Config) -> None:
    with WebServer({"/0": answer(b"arrived")}) as server:
        for left in range(1, 5):
            location = f"{left - 1}" if left % 2 else server.uri(f"/{left - 1}")
            server.routes[f"/{left}"] = answer(b"moved", "301 Moved", Location=location)
        assert outcome(config, server.uri("/3")) == b"arrived"
        assert outcome(config, server.uri("/4")) is SampleCode.REMOTE_ERROR


def test_more_bytes_than_promised_do_not_reach_the_next_sample(config: Config) -> None:
    with WebServer({"*": answer(b"12345AND MORE", Content_Length="5")}) as server:
        results = fetch_all(config, [server.uri(f"/{number}") for number in range(20)])
    for result in results:
        assert result.data == b"12345" if isinstance(result, Fetched) else result.sample_code is SampleCode.REMOTE_ERROR


def test_refused_timed_out_unresolved_and_blocked_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with socket.socket() as free, WebServer({"*": silence}) as silent:
        free.bind(("127.0.0.1", 0))  # not listening: refused
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/"
        blocked, unresolved = "http://169.254.169.254/latest/meta-data/", "http://nowhere.invalid/"
        uris = [refused, silent.uri("/"), blocked, unresolved, "http://2130706433/"]
        results = fetch_all(personal(tmp_path, http=QUICK), uris)
    assert {(type(result), result.sample_code, str(result)) for result in results} == {
        (SampleError, SampleCode.UNREACHABLE, DETAILS[SampleCode.UNREACHABLE])
    }


def test_a_delay_of_each_object_is_hidden_by_concurrency(tmp_path: Path) -> None:
    def late(request: Request) -> None:
        time.sleep(0.02)
        request.send(answer(b"late"))

    with WebServer({"*": late}) as server:
        started = time.monotonic()
        results = fetch_all(personal(tmp_path), [server.uri(f"/{number}") for number in range(128)])
        assert time.monotonic() - started < 128 * 0.02  # what one after the other takes
        assert all(isinstance(result, Fetched) for result in results)
        assert server.most_at_once <= 16
        assert server.connections <= 16


def test_the_request_carries_no_credentials_no_cookies_and_asks_for_plain_bytes(config: Config) -> None:
    with WebServer({"*": answer(b"x", Set_Cookie="a=b")}) as server:
        fetch_all(config, [server.uri(f"/{number}?sig=a%2Fb") for number in range(40)])
        heads = [request.head.lower() for request in server.requests]
    assert len(heads) == 40
    assert all("accept-encoding: identity" in head and "sig=a%2fb" in head for head in heads)
    assert not any(word in head for head in heads for word in ("cookie", "authorization", "referer"))


def test_proxies_and_netrc_of_the_environment_are_ignored(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with WebServer({"*": answer(b"proxy")}) as proxy, WebServer({"*": answer(b"site")}) as site:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.uri(""))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert outcome(config, site.uri("/")) == b"site"
        assert proxy.connections == 0
        assert "authorization" not in site.requests[0].head.lower()


def test_a_cancelled_fetch_leaves_the_source_usable(config: Config) -> None:
    async def twice(uri: str) -> bytes:
        source = HttpSource(config)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await source.fetch(uri + "slow", "me")
        fetched = await source.fetch(uri, "me")
        await source.close()
        return fetched.data

    with WebServer({"/slow": silence, "/": answer(b"ok")}) as server:
        assert asyncio.run(twice(server.uri("/"))) == b"ok"


class TestTls:
    @pytest.fixture
    def server(self, certificate: Path) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with WebServer({"*": answer(b"secure")}, tls=context) as server:
            yield server

    def test_a_trusted_certificate_of_that_name_is_read(
        self, server: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, config: Config
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert outcome(config, f"https://localhost:{server.port}/") == b"secure"

    def test_a_certificate_of_another_name_is_unreachable(
        self, server: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, config: Config
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert outcome(config, f"https://127.0.0.1:{server.port}/") is SampleCode.UNREACHABLE

    def test_a_certificate_that_nobody_signed_is_unreachable(self, server: WebServer, config: Config) -> None:
        assert outcome(config, f"https://localhost:{server.port}/") is SampleCode.UNREACHABLE
        assert server.requests == []
