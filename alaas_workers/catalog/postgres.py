"""PostgreSQL as the catalog's database, through psycopg, with a bound on every wait."""

from __future__ import annotations

import select
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from alaas.errors import ConfigError

try:
    import psycopg
except ImportError as error:  # an extra: SQLite needs none of it
    raise ConfigError("PostgreSQL needs `pip install 'alaas[postgres]'`", field="catalog.url") from error

CONNECT_TIMEOUT_S = 2  # the least that libpq and psycopg take
SILENCE_S = 2.5
_SETTINGS = {
    "statement_timeout": int(SILENCE_S * 1000),
    "lock_timeout": int(SILENCE_S * 1000),
    "idle_in_transaction_session_timeout": 60_000,
}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that is silent: stopped, hung or behind a dead link.

    The server's own timeouts do not run then, and TCP sees nothing wrong.
    """

    silence_s: float = SILENCE_S

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().wait(_bounded(gen, self.silence_s), *args, **kwargs)
        except _Silent:
            self.pgconn.finish()  # what it would still answer belongs to nobody
            raise


class _Silent(psycopg.OperationalError):
    pass


def _bounded(gen: Generator[Any, int, Any], silence_s: float) -> Generator[Any, int, Any]:
    """Pass `gen` on, which tells what it waits for and is told what is ready; 0 is psycopg's tick without news."""
    try:
        wanted = next(gen)
        heard = time.monotonic()
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > silence_s:
                raise _Silent(f"the server was silent for {silence_s} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


def open_postgres(url: URL, **pool: Any) -> Engine:
    """An engine for `url`; what its query names (sslmode, connect_timeout, options) goes before our settings."""
    defaults = {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "tcp_user_timeout": str(int(SILENCE_S * 1000)),
        "application_name": "alaas",
        "options": " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items()),
    }
    url = url.set(drivername="postgresql+psycopg", query={**defaults, **url.query})
    engine = create_engine(url, **pool)
    event.listen(engine, "do_connect", lambda _, __, args, options: BoundedConnection.connect(*args, **options))
    event.listen(engine, "checkout", _check_open)
    return engine


def _check_open(driver: BoundedConnection, entry: ConnectionPoolEntry, _: object) -> None:
    # An idle connection with something to read was closed by the server; asking so costs no round trip.
    if driver.closed or select.select([driver.fileno()], [], [], 0)[0]:
        raise DisconnectionError


@contextmanager
def patience(connection: Connection, wait_s: float) -> Iterator[None]:
    """Within it, statements and locks of this transaction may take `wait_s` (migrations)."""
    driver: BoundedConnection = connection.connection.driver_connection  # type: ignore[assignment]
    driver.silence_s = wait_s + SILENCE_S
    try:
        for name in ("statement_timeout", "lock_timeout"):
            connection.execute(text(f"SET LOCAL {name} = {int(wait_s * 1000)}"))
        yield
    finally:
        driver.silence_s = SILENCE_S
