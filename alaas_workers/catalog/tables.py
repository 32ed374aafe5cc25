"""The catalog's tables, as the newest migration leaves them; docs/catalog.md says what each is for.

A test compares them with what the migrations make, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

# SQLite numbers rows by itself only in a column that is declared INTEGER.
Number = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on both databases; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

datasets = Table(
    "datasets",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("name", Text),  # null: the nameless dataset of a job that came with a list of URIs
    Column("modality", Text, nullable=False),
    Column("tags", Text, nullable=False),  # JSON object of strings
    Column("created", UtcDateTime, nullable=False),
    Column("samples", Integer, nullable=False, server_default="0"),  # the next ordinal: there are no gaps
    Column("labelled", Integer, nullable=False, server_default="0"),
    Column("duplicates", Integer, nullable=False, server_default="0"),
    Column("label_events", Integer, nullable=False, server_default="0"),  # calls of add_labels so far
    UniqueConstraint("owner", "name"),
    Index(None, "owner", "number"),
)

samples = Table(
    "samples",
    metadata,
    Column("dataset", ForeignKey(datasets.c.number), primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("id", LargeBinary(16), nullable=False),
    Column("uri", Text, nullable=False),
    Column("version", Text, nullable=False, server_default=""),
    Column("label", Text),
    Column("label_event", Integer),  # the event of the first label; a later label does not change it
    Index("ix_samples_id", "dataset", "id", unique=True),
    sqlite_with_rowid=False,  # rows lie in the order of their key, in which pools are read
)
_LABELLED = samples.c.label_event.is_not(None)
Index("ix_samples_labelled", samples.c.dataset, samples.c.ordinal, sqlite_where=_LABELLED, postgresql_where=_LABELLED)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("dataset", ForeignKey(datasets.c.number), nullable=False, index=True),
    Column("model", Text, nullable=False),  # of a committee the first
    Column("strategy", Text),  # JSON object
    Column("budget", Integer),
    Column("seed", BigInteger, nullable=False),
    Column("deadline_s", Float),
    Column("created", UtcDateTime, nullable=False),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Column("progress", Text, nullable=False),  # JSON of alaas.jobs.Progress
    Column("error", Text),  # JSON of alaas.jobs.Problem
    # The snapshot: samples below this ordinal whose first label is absent or came after this event.
    Column("pool_size", Integer, nullable=False),
    Column("label_events", Integer, nullable=False),
    Column("unlabelled", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("idempotency_key", Text),
    Column("request_digest", Text),
    Column("policy", Text),  # JSON object
    Column("committee", Text),  # JSON list of the models' names; null: one model
    Column("listing", Text),  # JSON of alaas.jobs.Listing; null: no import
    UniqueConstraint("owner", "idempotency_key"),
    Index(None, "owner", "number"),
)

reports = Table(
    "reports",
    metadata,
    Column("job", ForeignKey(jobs.c.number), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # zlib of the canonical JSON
)

answers = Table(
    "answers",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False, index=True),
)
