"""SQLite as the catalog's database: one file, write-ahead log, and write transactions that wait for their turn."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from alaas.errors import ConfigError, Unavailable

LOCK_WAIT_S = 3.0
WAITS_S = "alaas_lock_wait_s"
"""Execution option: this transaction writes, and waits so long for the write lock."""
_POLL_S = 0.004


def open_sqlite(url: URL, **pool: Any) -> Engine:
    """An engine on the file that `url` names; the file and its folder are made when absent."""
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ConfigError("SQLite needs the path of a file, which several processes share", field="catalog.url")
    path = Path(url.database).expanduser().resolve()
    _create(path)
    engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=QueuePool, **pool)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "connect", lambda _, entry: _remember_file(entry, path))
    event.listen(engine, "checkout", lambda _, entry, __: _check_file(entry, path))
    return engine


def _create(path: Path) -> None:
    """Make the file, readable by its user only (URIs may be presigned), and turn on the write-ahead log for good."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise Unavailable(f"The catalog's file cannot be made: {error.strerror}.") from error
    connection = _connect(path)
    try:
        _until_free(connection, "PRAGMA journal_mode=WAL", LOCK_WAIT_S)
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a file that went away must be an error, never a new and empty catalog.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S
    )
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=-32768")  # KiB, at most: a batch of samples touches all of their index
    connection.execute("PRAGMA wal_autocheckpoint=8192")  # pages; those of the index would be copied at each commit
    return connection


def _begin(connection: Connection) -> None:
    """Start a transaction; a write takes its lock at once, since a lock taken later cannot be waited for."""
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    wait_s = connection.get_execution_options().get(WAITS_S)
    if wait_s is None:
        driver.execute("BEGIN")
    else:
        _until_free(driver, "BEGIN IMMEDIATE", wait_s)


def _until_free(driver: sqlite3.Connection, statement: str, wait_s: float) -> None:
    """Run `statement` when the lock is free. SQLite's own waiting naps for 100 ms, in which others take every turn."""
    deadline = time.monotonic() + wait_s
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute(statement).fetchall()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(LOCK_WAIT_S * 1000)}")


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remember_file(entry: ConnectionPoolEntry, path: Path) -> None:
    entry.info["file"] = _file(path)


def _check_file(entry: ConnectionPoolEntry, path: Path) -> None:
    # Without this, writes to a file that was deleted or replaced would succeed and be lost.
    if entry.info["file"] != _file(path):
        raise DisconnectionError
