"""The API as gunicorn serves it: Redis stopped or hung, the catalog away, rude clients, a clean stop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_process import ApiProcess
from tests.support.redis_server import RedisServer

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
QUERY = {"uris": ["file:///a", "file:///b"], "budget": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def ledger_redis(folder: Path) -> Iterator[RedisServer]:
    with RedisServer(folder / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def settings(folder: Path, ledger_redis: RedisServer) -> dict[str, Any]:
    return {
        "broker": {"url": ledger_redis.url},
        "storage": {"data_dir": str(folder / "data")},
        "models": {"tiny": {"source": "null"}},
        "api": {"threads": 4, "idle_timeout_s": 1.0},
    }


@pytest.fixture(scope="module")
def api(folder: Path, settings: dict[str, Any]) -> Iterator[ApiProcess]:
    # A folder of the user's that holds a package called like ours.
    (folder / "mine" / "api").mkdir(parents=True)
    (folder / "mine" / "api" / "__init__.py").write_text("raise RuntimeError('the wrong api')")
    with ApiProcess(folder, settings, cwd=folder / "mine") as process:
        yield process


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def say(api: ApiProcess, text: bytes, wait_s: float = 5) -> bytes:
    """Send raw bytes; what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=wait_s) as connection:
        connection.sendall(text)
        said = b""
        while piece := connection.recv(4096):
            said += piece
        return said


def refused_within_3_s(client: httpx.Client, **request: Any) -> None:
    started = time.monotonic()
    answer = client.post("/v1/jobs", json=QUERY, **request)
    assert time.monotonic() - started < 3
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_working_directory_with_a_package_of_the_same_name_does_no_harm(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_job_is_accepted_and_followed(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", json=QUERY).json()["id"]
    client.post(f"/v1/jobs/{job}/cancel")
    assert "event: end" in client.get(f"/v1/jobs/{job}/events").text


def test_redis_stopped_hung_and_back_again(api: ApiProcess, client: httpx.Client, ledger_redis: RedisServer) -> None:
    ledger_redis.kill()
    try:
        refused_within_3_s(client)
        assert client.get("/readyz").json()["checks"]["ledger"]["ok"] is False
    finally:
        ledger_redis.start()
    assert client.post("/v1/jobs", json=QUERY).status_code == 202
    ledger_redis.pause()
    try:
        refused_within_3_s(client)
        started = time.monotonic()
        assert client.get("/v1/datasets").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert time.monotonic() - started < 3
    finally:
        ledger_redis.resume()
    assert client.post("/v1/jobs", json=QUERY).status_code == 202


def test_more_silent_and_dribbling_clients_than_threads_hold_nobody_up(api: ApiProcess, client: httpx.Client) -> None:
    rude = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(12)]
    try:
        started = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 1, "silent connections hold threads"
        for connection in rude:
            connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n")
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 8, "clients that stop in mid-request hold threads"
    finally:
        for connection in rude:
            connection.close()


def test_a_body_that_stands_still_is_given_up(api: ApiProcess) -> None:
    said = say(api, HEAD + b"Content-Length: 99\r\n\r\n{")
    assert b" 400 " in said
    assert b"ended early" in said


@pytest.mark.parametrize(
    ("text", "status"),
    [(b"\x00\x01\x02\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
     (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
     (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: rot13\r\n\r\n", 400),
     (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
     (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400)],
)  # fmt: skip
def test_what_is_no_http_is_answered_with_a_problem(api: ApiProcess, text: bytes, status: int) -> None:
    said = say(api, text)
    assert f" {status} ".encode() in said.partition(b"\r\n")[0]
    assert b"application/problem+json" in said


def test_samples_stream_in_chunks_of_unknown_length(client: httpx.Client) -> None:
    dataset = client.post("/v1/datasets", json={"name": "streamed"}).json()["id"]
    lines = (f'"file:///{number}"\n'.encode() * 1 for number in range(20_000))
    pieces = (b"".join(group) for group in zip(*[iter(lines)] * 500, strict=True))
    headers = {"content-type": "application/x-ndjson"}
    answer = client.post(f"/v1/datasets/{dataset}/samples", content=pieces, headers=headers)
    assert answer.json() == {"received": 20_000, "added": 20_000, "duplicates": 0}


def test_a_body_over_the_cap_is_refused_while_it_is_still_sent(api: ApiProcess) -> None:
    assert b" 413 " in say(api, HEAD + b"Content-Length: 999999999\r\n\r\n" + b"{" * 1000, wait_s=10)


def test_sigterm_ends_open_streams_and_exits_cleanly(tmp_path: Path, settings: dict[str, Any]) -> None:
    with (
        ApiProcess(tmp_path, settings | {"storage": {"data_dir": str(tmp_path / "data")}}) as api,
        api.client() as client,
    ):
        job = client.post("/v1/jobs", json=QUERY).json()["id"]
        with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            stopping = threading.Timer(0.5, api.process.terminate)  # type: ignore[union-attr]
            started = time.monotonic()
            stopping.start()
            list(lines)
        assert api.process is not None
        assert api.process.wait(15) == 0
        assert time.monotonic() - started < 8
        assert "Traceback" not in api.log


def test_a_catalog_that_is_away_at_the_start_is_503_and_found_when_it_is_back(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    data = tmp_path / "data"
    data.write_text("a file where the folder should be")
    with ApiProcess(tmp_path, settings | {"storage": {"data_dir": str(data)}}) as api, api.client() as client:
        refused_within_3_s(client)
        assert client.get("/v1/datasets").status_code == 503
        assert client.get("/readyz").json()["checks"]["catalog"]["ok"] is False
        data.unlink()
        time.sleep(1.2)
        assert client.post("/v1/jobs", json=QUERY).status_code == 202


def test_a_configuration_that_cannot_work_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    api = ApiProcess(tmp_path, {"models": {"tiny": {"source": "null"}}})
    with pytest.raises(RuntimeError, match=r"broker\.url"):
        api.start()
    assert "Traceback" not in api.log
