"""Fixtures that every test may use: a real Redis for the ledger and one for the cache, shared by the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.conformance import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.support.conformance import pytest_deselected as pytest_deselected
from tests.support.conformance import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.redis_server import RedisServer

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
def shared_data() -> Path:
    """The real data beside the project; a test that needs it is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the folder ../shared/data with real data is not here")
    return DATA
