"""docker/healthcheck.py: a worker is healthy while it shows itself in the ledger, whoever else does."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from alaas.config import Config, parse_config
from alaas_workers.ledger import Ledger
from tests.support.redis_server import free_port

PATH = Path(__file__).resolve().parents[3] / "docker" / "healthcheck.py"


@pytest.fixture(scope="module")
def healthcheck() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(redis_url: str) -> Config:
    return parse_config({"broker": {"url": redis_url}})


@pytest.mark.parametrize(("role", "node"), [("download", "download@{host}:17"), ("dispatcher", "{host}:17")])
def test_a_process_that_showed_itself_is_healthy(healthcheck: ModuleType, config: Config, role: str, node: str) -> None:
    Ledger.open(config).sign_of_life(role, node.format(host=socket.gethostname()))
    assert healthcheck.shows_life(role, config)


def test_another_host_or_another_role_does_not_count(healthcheck: ModuleType, config: Config) -> None:
    ledger = Ledger.open(config)
    ledger.sign_of_life("download", f"download@other-{socket.gethostname()}:17")
    ledger.sign_of_life("inference", f"inference@{socket.gethostname()}:17")
    assert not healthcheck.shows_life("download", config)


def test_a_worker_whose_redis_is_away_is_not_the_one_to_restart(healthcheck: ModuleType) -> None:
    assert healthcheck.shows_life("download", parse_config({"broker": {"url": f"redis://127.0.0.1:{free_port()}/0"}}))


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_api_that_answers_is_healthy(healthcheck: ModuleType, server: HTTPServer) -> None:
    assert healthcheck.answers(f"http://127.0.0.1:{server.server_port}/healthz")


def test_an_api_that_does_not_answer_is_not(healthcheck: ModuleType) -> None:
    assert not healthcheck.answers(f"http://127.0.0.1:{free_port()}/healthz")
