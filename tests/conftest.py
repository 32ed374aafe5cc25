"""Fixtures that every test may use: a real Redis for the ledger and one for the cache, shared by the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.conformance import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.support.conformance import pytest_deselected as pytest_deselected
from tests.support.conformance import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.redis_server import RedisServer
from tests.support.s3_server import S3Server
from tests.support.triton_server import TritonServer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis; tests of one session run one after the other."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """moto for everybody; it takes any credentials. Each test makes a bucket of its own."""
    with S3Server() as server:
        yield server


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The same, with credentials for it in the environment, and nothing of what the machine holds."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real Triton server for everybody. Each test writes models of its own names, and loads them."""
    with TritonServer(tmp_path_factory.mktemp("triton"), explicit=True) as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the project; a test that needs it is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the folder ../shared/data with real data is not here")
    return DATA
