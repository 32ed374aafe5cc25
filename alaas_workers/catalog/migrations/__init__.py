"""The catalog's schema, step by step (Alembic). `alaas_workers.catalog.migrate` runs them; docs/catalog.md: add one."""
