"""One catalog on SQLite and one on a real PostgreSQL; every contract test runs on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from alaas_workers.catalog import Catalog
from alaas_workers.catalog.tables import metadata
from tests.support.postgres_server import CannotRunPostgres, PostgresServer

DATABASES = ("sqlite", "postgres")
EMPTY = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except CannotRunPostgres as reason:
        pytest.skip(f"no PostgreSQL to test against: {reason}")
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """Of a catalog that the tests of a session share; each finds it empty."""
    url = postgres.create_database()
    Catalog.open(url).close()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog to copy, which is quicker than to make one for each test."""
    path = tmp_path_factory.mktemp("catalog") / "template.sqlite"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty catalog that others may open too."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "catalog.sqlite")
        return f"sqlite:///{path}"
    shared: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(shared) as connection:
        connection.execute(EMPTY.encode())
    return shared


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with Catalog.open(url) as catalog:
        yield catalog
