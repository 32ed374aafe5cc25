"""A fake server and a client of it that neither sleeps nor draws."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from alaas import Client
from tests.unit.alaas.fake_server import FakeServer


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def slept() -> list[float]:
    """The pauses that the client made between tries."""
    return []


@pytest.fixture
def client(server: FakeServer, slept: list[float]) -> Iterator[Client]:
    with Client("http://server:1", transport=server.transport, progress=False) as client:
        client._http._sleep = slept.append
        yield client


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of loopback on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
