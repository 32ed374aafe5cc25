"""A ledger on an empty Redis, with leases and pauses that no test outlives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from alaas.config import Config
from alaas_workers.cache import Cache
from alaas_workers.ledger import Ledger
from tests.support.ledger import Notebook, config_for


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The ledger's Redis, to look into and to move its deadlines."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def config(redis_url: str) -> Config:
    return config_for(redis_url)


@pytest.fixture
def ledger(config: Config) -> Ledger:
    return Ledger.open(config)


@pytest.fixture
def cache(config: Config) -> Cache:
    return Cache.open(config)


@pytest.fixture
def hints() -> Notebook:
    return Notebook()
