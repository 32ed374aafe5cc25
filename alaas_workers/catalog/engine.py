"""The database behind a URL: short read and write transactions, and `Unavailable` for every way of being away."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import URL, Connection, Engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import DatabaseError as AnyDatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from alaas.errors import ConfigError, InvalidRequest, Unavailable
from alaas_workers.catalog.sqlite import LOCK_WAIT_S, WAITS_S, open_sqlite

logger = logging.getLogger(__name__)

POOL = {"pool_size": 4, "max_overflow": 28, "pool_timeout": 2.5}


class Database:
    """One engine. Thread-safe; open it after a fork, since connections do not survive one."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.is_postgres = parsed.get_backend_name() == "postgresql"
        with _told_as_unavailable():
            self.engine = self._engine(parsed)

    def _engine(self, url: URL) -> Engine:
        if not self.is_postgres:
            return open_sqlite(url, **POOL)
        from alaas_workers.catalog.postgres import open_postgres

        return open_postgres(url, **POOL)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and waits for no writer."""
        with _told_as_unavailable(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, wait_s: float = LOCK_WAIT_S) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by an exception.

        Keep it short: SQLite has one writer at a time, and the others wait `wait_s` at most.
        """
        with _told_as_unavailable(), ExitStack() as stack:
            connection = stack.enter_context(self.engine.connect())
            connection = connection.execution_options(**{WAITS_S: wait_s})
            stack.enter_context(connection.begin())
            if self.is_postgres and wait_s > LOCK_WAIT_S:
                from alaas_workers.catalog.postgres import patience

                stack.enter_context(patience(connection, wait_s))
            yield connection

    def hold(self, connection: Connection, name: str) -> None:
        """Hold the lock called `name` until the transaction ends; on SQLite a write holds all there is."""
        if self.is_postgres:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"alaas {name}", 0))))

    def close(self) -> None:
        self.engine.dispose()


def _parse(url: str) -> URL:
    if url.startswith("sqlite:///"):  # the rest is a path as it stands, whatever characters it holds
        return URL.create("sqlite", database=url.removeprefix("sqlite:///"))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("The catalog's URL cannot be read", field="catalog.url") from None
    if parsed.drivername == "postgres":  # as many hosts of PostgreSQL write it
        parsed = parsed.set(drivername="postgresql")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        known = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
        raise ConfigError(f"The catalog's URL must be {known}", field="catalog.url")
    return parsed


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    """Errors of the database as ours. The log has the cause; who asked learns nothing of paths and hosts."""
    try:
        yield
    except (PoolTimeout, sqlite3.DatabaseError) as error:  # SQLite's own comes from outside SQLAlchemy: open, begin
        raise _unavailable(error) from error
    except (DataError, UnicodeEncodeError) as error:
        raise InvalidRequest("A text or a number is not one that the catalog can hold.") from error
    except DBAPIError as error:
        if not _is_away(error):
            raise
        raise _unavailable(error.orig or error) from error


def _is_away(error: DBAPIError) -> bool:
    # SQLite says plain DatabaseError of a file that is damaged or is no database.
    return isinstance(error, OperationalError | InterfaceError) or type(error) is AnyDatabaseError


def _unavailable(error: BaseException) -> Unavailable:
    logger.warning("the catalog is away: %s", (str(error).splitlines() or [type(error).__name__])[0])
    return Unavailable("The catalog is away.")
