"""What the ledger's tests share: configurations, samples, a notebook instead of hints, and the whole of its Redis."""

from __future__ import annotations

from collections import Counter
from typing import Any

import redis

from alaas.config import Config
from alaas.config.loading import parse_config
from alaas.jobs import Feature, Stage
from alaas_workers import keys
from alaas_workers.app import Hints
from alaas_workers.ledger import ChunkSample, JobLedger, JobSpec, Lease, Ledger, Unit
from alaas_workers.redis_client import text
from alaas_workers.sources import Sources

SPEC = JobSpec("ada", "d" * 32, "small", "f1", "t1", (Feature.PROBABILITIES,))
NEVER_EMPTIED = {keys.TURN, keys.WAKE, keys.METRICS}
"""Keys that stay when no job is left; each is bounded."""


def config_for(url: str, cache_url: str | None = None, **sections: dict[str, Any]) -> Config:
    """Leases that no test outlives, unless `sections` say otherwise."""
    pipeline = {"lease_s": 600.0, "stall_s": 600.0, "hint_grace_s": 600.0} | sections.pop("pipeline", {})
    servers = {"broker": {"url": url}, "cache": {"url": cache_url or url} | sections.pop("cache", {})}
    return parse_config(servers | {"pipeline": pipeline} | sections)


class Notebook(Hints):
    """Writes hints down instead of sending them; `queued` is what the broker says of its queues."""

    def __init__(self) -> None:
        self.sent: list[Unit] = []
        self.described: list[str] = []
        self.queued: Counter[Stage] = Counter()

    def send(self, unit: object, stage: Stage) -> None:
        assert isinstance(unit, Unit) and unit.stage is stage
        self.sent.append(unit)

    def describe(self, model: str) -> None:
        self.described.append(model)

    def waiting(self) -> dict[Stage, int]:
        return {stage: self.queued[stage] for stage in Stage}

    def taken(self) -> list[Unit]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent


class Versions(Sources):
    """What the sources say of each URI, from a dict."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}

    def version(self, uri: str, owner: str, listed: str = "") -> str:
        return self.now.get(uri, "")


def samples(count: int, first: int = 0) -> list[ChunkSample]:
    return [ChunkSample(ordinal, f"file:///pool/{ordinal}.png", "") for ordinal in range(first, first + count)]


def opened(ledger: Ledger, job_id: str = "job", total: int = 4) -> JobLedger:
    assert ledger.open_job(job_id, SPEC, total)
    return the_job(ledger, job_id)


def the_job(ledger: Ledger, job_id: str = "job") -> JobLedger:
    job = ledger.job(job_id)
    assert job is not None
    return job


def admitted(ledger: Ledger, count: int = 4, *, job_id: str = "job", planned: bool = True) -> Unit:
    """The unit of a chunk of `count` samples, of a job that is opened if it is not."""
    job = ledger.job(job_id) or opened(ledger, job_id, count)
    first = job.cursor + 1
    is_new, units = ledger.admit(job, job.cursor + count, planned, samples(count, first), 0)
    assert is_new
    return units[0]


def claimed(ledger: Ledger, unit: Unit, token: str = "me") -> Lease:
    lease = ledger.claim(unit, token)
    assert lease is not None
    return lease


def let_run_out(client: redis.Redis, *units: Unit) -> None:
    """As if the time that each of the open units had were over."""
    client.zadd(keys.OPEN, {str(unit): 1.0 for unit in units}, xx=True)


def contents(client: redis.Redis) -> dict[str, Any]:
    """Everything below our prefix but the clocks: of deadlines only whether they have passed, no wake-ups."""
    names = sorted(text(name) for name in client.keys(f"{keys.PREFIX}*"))
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for name in names:
            if name in (keys.OPEN, keys.JOBS):
                pipe.zrange(name, 0, -1, withscores=True)
            elif name == keys.TURN or name.startswith((keys.INTERMEDIATE, text(keys.FEATURE))):
                pipe.get(name)
            elif name == keys.WAKE:
                pipe.llen(name)
            else:
                pipe.hgetall(name)
        (seconds, micros), *values = pipe.execute()
    found = dict(zip(names, values, strict=True))
    now = seconds * 1000 + micros / 1000
    found[keys.OPEN] = {text(unit): score <= now for unit, score in found.get(keys.OPEN, [])}
    found.pop(keys.WAKE, None)
    return found


def left_over(client: redis.Redis) -> set[str]:
    """Keys that should be gone when there is no job."""
    return {text(name) for name in client.scan_iter("*")} - NEVER_EMPTIED
