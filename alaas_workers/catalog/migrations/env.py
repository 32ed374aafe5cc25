"""What Alembic runs: the steps, inside the transaction that `alaas_workers.catalog.migrate` opened."""

from __future__ import annotations

from alembic import context

from alaas_workers.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
