"""Every Redis key and its lifetime. No other module contains the prefix (tests/unit/test_imports.py looks).

In the ledger's Redis (never evicts): everything from `OPEN` to `MODELS`, and Celery's messages under `MESSAGES`.
In the cache's Redis (may evict at any time): `intermediate` and `feature`.
"""

from __future__ import annotations

PREFIX = "alaas:"

OPEN = f"{PREFIX}open"  # sorted set: unit -> deadline in Redis TIME, ms; until the unit is finished
OWNER = f"{PREFIX}owner"  # hash: unit -> token of the worker that holds its lease
ATTEMPTS = f"{PREFIX}attempts"  # hash: unit -> how often it was claimed
BYTES = f"{PREFIX}bytes"  # hash: job|chunk -> bytes that it holds in the cache between stages
JOBS = f"{PREFIX}jobs"  # sorted set: job -> turn of its last admission (fairness)
TURN = f"{PREFIX}turn"  # counter of turns
WAKE = f"{PREFIX}wake"  # list: the dispatcher sleeps on it; bounded by the scripts
METRICS = f"{PREFIX}metrics"  # hash: counters for /metrics, never reset
WORKERS = f"{PREFIX}workers"  # sorted set: "stage node" -> Redis TIME of its last sign of life, s
MODELS = f"{PREFIX}models"  # hash: model and digest of its configuration -> card as JSON
MESSAGES = f"{PREFIX}messages:"  # prefix of Celery's own keys

JOB = f"{PREFIX}job:"  # hash per job: state, cursor, planned, round, spec, progress; until the job ends
CHUNKS = f"{PREFIX}chunks:"  # hash per job: unfinished chunk -> its samples, compressed
REACHED = f"{PREFIX}reached:"  # hash per job: unfinished chunk -> how many stages it has passed at least once
RESULTS = f"{PREFIX}results:"  # hash per job: chunk|stage -> samples that failed there, compressed

FEATURE = f"{PREFIX}f:".encode()  # one sample's feature; cache.feature_ttl_s
INTERMEDIATE = f"{PREFIX}t:"  # one chunk's output of a stage; cache.intermediate_ttl_s, deleted when consumed


def intermediate(job: str, chunk: str, stage: str) -> str:
    return f"{INTERMEDIATE}{job}|{chunk}|{stage}"
