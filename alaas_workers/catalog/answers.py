"""What a POST with an Idempotency-Key was answered, so that its repetition gets the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from alaas.errors import Conflict
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.tables import answers
from alaas_workers.catalog.texts import check_text

KEPT = timedelta(days=2)
MAX_KEY = 255
FIELD = "Idempotency-Key"


def check_key(key: str | None) -> None:
    if key is not None:
        check_text(key, FIELD, MAX_KEY)


def recall(connection: Connection, owner: str, key: str, digest: str) -> tuple[int, bytes] | None:
    """The status and body of the answer; Conflict when the key was used for another request."""
    check_key(key)
    statement = select(answers).where(answers.c.owner == owner, answers.c.key == key)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    if row.digest != digest:
        raise Conflict("This Idempotency-Key was used for another request.", field=FIELD)
    return row.status, row.body


def store(database: Database, owner: str, key: str, digest: str, status: int, body: bytes) -> None:
    """Keep the answer for two days. The first one stays; Conflict when that was for another request."""
    check_text(owner, "owner")
    now = datetime.now(UTC)
    row = {"owner": owner, "key": key, "digest": digest, "status": status, "body": body, "created": now}
    with database.write() as connection:
        database.hold(connection, f"owner {owner}")
        connection.execute(delete(answers).where(answers.c.created < now - KEPT))
        if recall(connection, owner, key, digest) is None:
            connection.execute(insert(answers).values(row))
