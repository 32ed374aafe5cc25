"""One catalog on SQLite and one on a real PostgreSQL; every contract test runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from alaas_workers.catalog import Catalog
from alaas_workers.catalog.tables import metadata
from tests.support.postgres_server import CannotRunPostgres, PostgresServer

DATABASES = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except CannotRunPostgres as reason:
        pytest.skip(f"no PostgreSQL to test against: {reason}")
    with server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty catalog that others may open too."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'catalog.sqlite'}"
    shared: str = request.getfixturevalue("shared_postgres_url")
    Catalog.open(shared).close()
    _empty(shared)
    return shared


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with Catalog.open(url) as catalog:
        yield catalog


def _empty(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
