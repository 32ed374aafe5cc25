"""What outlives Redis: datasets, samples, labels, jobs and reports in SQLite or PostgreSQL. docs/catalog.md"""

from alaas_workers.catalog.catalog import Catalog
from alaas_workers.catalog.records import JobRecord, PoolSample, furthest
from alaas_workers.catalog.texts import sample_id

__all__ = ["Catalog", "JobRecord", "PoolSample", "furthest", "sample_id"]
