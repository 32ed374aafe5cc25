"""The first schema: datasets, samples with their labels, jobs, reports and remembered answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
LABELLED = sa.text("label_event IS NOT NULL")


def upgrade() -> None:
    _datasets()
    _samples()
    _jobs()
    _answers()


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False, server_default="0"),
        sa.Column("labelled", sa.Integer, nullable=False, server_default="0"),
        sa.Column("duplicates", sa.Integer, nullable=False, server_default="0"),
        sa.Column("label_events", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("number", name="pk_datasets"),
        sa.UniqueConstraint("id", name="uq_datasets_id"),
        sa.UniqueConstraint("owner", "name", name="uq_datasets_owner_name"),
    )
    op.create_index("ix_datasets_owner_number", "datasets", ["owner", "number"])


def _samples() -> None:
    op.create_table(
        "samples",
        sa.Column("dataset", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("id", sa.LargeBinary(16), nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False, server_default=""),
        sa.Column("label", sa.Text),
        sa.Column("label_event", sa.Integer),
        sa.PrimaryKeyConstraint("dataset", "ordinal", name="pk_samples"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.number"], name="fk_samples_dataset"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_samples_id", "samples", ["dataset", "id"], unique=True)
    op.create_index(
        "ix_samples_labelled", "samples", ["dataset", "ordinal"], sqlite_where=LABELLED, postgresql_where=LABELLED
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("dataset", NUMBER, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text),
        sa.Column("budget", sa.Integer),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("deadline_s", sa.Float),
        sa.Column("created", TIME, nullable=False),
        sa.Column("started", TIME),
        sa.Column("finished", TIME),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("pool_size", sa.Integer, nullable=False),
        sa.Column("label_events", sa.Integer, nullable=False),
        sa.Column("unlabelled", sa.Integer, nullable=False),
        sa.Column("duplicates", sa.Integer, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("request_digest", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_jobs_owner_idempotency_key"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.number"], name="fk_jobs_dataset"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_jobs_dataset", "jobs", ["dataset"])
    op.create_index("ix_jobs_owner_number", "jobs", ["owner", "number"])
    op.create_table(
        "reports",
        sa.Column("job", NUMBER, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("job", name="pk_reports"),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_reports_job"),
    )


def _answers() -> None:
    op.create_table(
        "answers",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_answers"),
    )
    op.create_index("ix_answers_created", "answers", ["created"])
