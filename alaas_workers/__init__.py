"""The fleet: the Celery application, the stages, and what they keep: the catalog (SQL), the ledger and the cache."""
