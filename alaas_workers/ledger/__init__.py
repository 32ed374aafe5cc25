"""The ledger: the truth about work in progress, in the broker's Redis."""

from alaas_workers.ledger.ledger import JobLedger, Ledger, LedgerMetrics, Overdue
from alaas_workers.ledger.units import ChunkSample, FailedAt, JobSpec, Lease, Outcome, Unit

__all__ = [
    "ChunkSample",
    "FailedAt",
    "JobLedger",
    "JobSpec",
    "Lease",
    "Ledger",
    "LedgerMetrics",
    "Outcome",
    "Overdue",
    "Unit",
]
