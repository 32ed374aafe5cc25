"""The truth about work in progress: which units are open, who holds them, how far each job is.

Celery's messages are hints that may be lost, late or doubled (docs/adr/0002). Every change of state is one Lua script,
and every script run twice has the effect of once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import redis

from alaas.config import Config
from alaas.jobs import SCAN_STAGES, Problem, Progress, Stage, StageProgress
from alaas_workers import keys
from alaas_workers.ledger.units import (
    ChunkSample,
    FailedAt,
    JobSpec,
    Lease,
    Outcome,
    Unit,
    pack_failed,
    pack_samples,
    unpack_failed,
    unpack_samples,
)
from alaas_workers.redis_client import connect, guarded, memory_bytes, text

_KEYS = [
    keys.OPEN, keys.OWNER, keys.ATTEMPTS, keys.BYTES, keys.JOBS, keys.TURN, keys.WAKE, keys.METRICS,
    keys.JOB, keys.CHUNKS, keys.REACHED, keys.RESULTS,
]  # fmt: skip
SELECTION_CHUNK = "all"
WORKER_TTL_S = 15.0


@dataclass(frozen=True)
class JobLedger:
    """A job as the ledger has it: where its planning stands."""

    id: str
    state: str  # planning, selecting or failing
    spec: JobSpec
    opened: int  # jobs were opened in this order
    round: int
    cursor: int
    planned: bool
    total: int
    cached: int
    problem: Problem | None


@dataclass(frozen=True)
class Overdue:
    """A unit that the sweep took: its lease ran out (`was_leased`), or nobody claimed it in time."""

    unit: Unit
    was_leased: bool
    attempts: int


@dataclass(frozen=True)
class LedgerMetrics:
    samples: dict[str, int]
    seconds: dict[str, float]
    waiting: dict[str, int]
    in_flight: dict[str, int]
    cache_hits: int
    cache_misses: int
    errors: dict[str, int]
    bytes_in_flight: int
    expired_leases: int
    returned_chunks: int
    claims: int  # units that a worker began; those above `finished` and in flight were begun in vain
    finished: int
    bytes_per_chunk: float


class Ledger:
    """One per process; thread-safe. Every method raises Unavailable within seconds when its Redis is away."""

    def __init__(self, client: redis.Redis, config: Config) -> None:
        self._redis = client
        self._grace_ms = round(config.pipeline.hint_grace_s * 1000)
        self._lease_ms = round(config.pipeline.lease_s * 1000)
        folder = files("alaas_workers.ledger") / "scripts"
        shared = (folder / "shared.lua").read_text()
        self._scripts = {
            entry.name.removesuffix(".lua"): client.register_script(shared + entry.read_text())
            for entry in folder.iterdir()
            if entry.name.endswith(".lua") and entry.name != "shared.lua"
        }

    @classmethod
    def open(cls, config: Config) -> Ledger:
        url = config.broker.url.get_secret_value() if config.broker.url else None
        return cls(connect(url, what="broker.url"), config)

    @guarded("ledger")
    def _run(self, script: str, *arguments: Any) -> Any:
        return self._scripts[script](keys=_KEYS, args=[str(a) if isinstance(a, float) else a for a in arguments])

    # What the API asks.

    @guarded("ledger")
    def ping(self) -> None:
        self._redis.ping()

    @guarded("ledger")
    def free_fraction(self) -> float:
        """The share of its memory limit that the ledger's Redis has left; 1.0 when it has no limit that we may know."""
        used, limit = memory_bytes(self._redis)
        return 1.0 if limit == 0 else max(0.0, 1.0 - used / limit)

    @guarded("ledger")
    def submit(self, job_id: str) -> None:
        """Wake the dispatcher, which finds the job in the catalog; it would in some seconds anyway."""
        self._redis.lpush(keys.WAKE, job_id)
        self._redis.ltrim(keys.WAKE, 0, 15)

    def cancel(self, job_id: str) -> None:
        """Drop all of a job's work. The catalog has its end already."""
        self.forget(job_id)

    @guarded("ledger")
    def progress(self, job_id: str) -> Progress | None:
        """Samples that passed each scan stage; None for a job that the ledger does not hold."""
        raw = {text(k): v for k, v in cast(dict[bytes, bytes], self._redis.hgetall(keys.JOB + job_id)).items()}
        if not raw:
            return None
        total, cached = int(raw["total"]), int(raw.get("cached", 0))
        stages = {
            stage: StageProgress(done=min(total, cached + int(raw.get(f"done:{stage}", 0))), total=total)
            for stage in SCAN_STAGES
        }
        failed = min(total, int(raw.get("failed", 0)))
        return Progress(total=total, cached=min(total, cached), failed=failed, stages=stages)

    # What the dispatcher does.

    @guarded("ledger")
    def wait_for_work(self, timeout_s: float) -> bool:
        """Sleep until something changed, at most `timeout_s`. True when a new job may be there."""
        woken = cast(tuple[bytes, bytes] | None, self._redis.blpop([keys.WAKE], timeout=timeout_s))
        if woken is None:
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrange(keys.WAKE, 0, -1)
            pipe.delete(keys.WAKE)
            others = pipe.execute()[0]
        return any(word != b"1" for word in [woken[1], *others])

    def open_job(self, job_id: str, spec: JobSpec, total: int) -> bool:
        return bool(self._run("open_job", job_id, spec.to_json(), total))

    @guarded("ledger")
    def jobs(self) -> list[JobLedger]:
        """Every job that the ledger holds; the one whose last admission is longest ago comes first."""
        ids = [text(job) for job in cast(list[bytes], self._redis.zrange(keys.JOBS, 0, -1))]
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(keys.JOB + job_id)
            rows = pipe.execute()
        return [_job(job_id, row) for job_id, row in zip(ids, rows, strict=True) if row]

    def admit(
        self,
        job: JobLedger,
        cursor: int,
        planned: bool,
        samples: Sequence[ChunkSample],
        cached: int,
    ) -> tuple[bool, list[Unit]]:
        """Move the planning of `job` on to `cursor`, opening a chunk of `samples` if there are any.

        Returns whether this call did it (False: another dispatcher was first), and the units to hint.
        """
        packed = pack_samples(samples) if samples else b""
        reply = self._run(
            "admit", job.id, job.round, job.cursor, cursor, int(planned), packed, cached, len(samples), self._grace_ms,
            job.opened,
        )  # fmt: skip
        if not reply[0]:
            return False, []
        units = [Unit(job.id, Stage.DOWNLOAD, text(reply[1]))] if reply[1] else []
        return True, units + ([Unit(job.id, Stage.SELECTION, SELECTION_CHUNK)] if reply[2] else [])

    def sweep(self, limit: int = 500) -> list[Overdue]:
        """Take the overdue units, oldest first; each has a new deadline, so that no other sweep has it as well."""
        flat = [text(item) for item in self._run("sweep", limit, self._grace_ms)]
        return [
            Overdue(Unit.parse(unit), leased == "1", int(attempts))
            for unit, leased, attempts in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]

    @guarded("ledger")
    def open_units(self) -> tuple[list[Unit], set[Unit]]:
        """All open units, and those of them that a worker holds. Few: the window bounds them."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrange(keys.OPEN, 0, -1)
            pipe.hkeys(keys.OWNER)
            opened, owned = pipe.execute()
        return [Unit.parse(text(unit)) for unit in opened], {Unit.parse(text(unit)) for unit in owned}

    @guarded("ledger")
    def bytes_in_flight(self) -> int:
        return sum(int(size) for size in cast(list[bytes], self._redis.hvals(keys.BYTES)))

    def forget(self, job_id: str) -> None:
        """Take everything of a job out of the ledger."""
        self._run("forget", job_id)

    # What a worker does with a unit.

    def claim(self, unit: Unit, token: str) -> Lease | None:
        """Take the lease; None when the unit is finished, its job is gone, or another holds it."""
        reply = self._run("claim", *unit, token, self._lease_ms)
        if not reply:
            return None
        samples = unpack_samples(reply[1]) if reply[1] else ()
        return Lease(unit, token, JobSpec.from_json(reply[0]), samples, int(reply[2]))

    def beat(self, lease: Lease) -> bool:
        """Extend the lease; False when it is no longer this holder's."""
        return bool(self._run("beat", str(lease.unit), lease.token, self._lease_ms))

    def done(self, lease: Lease, follows: Stage | None, outcome: Outcome, seconds: float) -> tuple[bool, Unit | None]:
        """Finish the unit. Returns whether this holder did it (False: fenced off), and the unit to hint next."""
        errors: dict[str, int] = {}
        for failure in outcome.failed:
            errors[failure.code] = errors.get(failure.code, 0) + 1
        reply = self._run(
            "done", *lease.unit, lease.token, follows or "", outcome.size_bytes, float(seconds), len(lease.samples),
            pack_failed(outcome.failed), self._grace_ms, *(part for pair in errors.items() for part in pair),
        )  # fmt: skip
        if not reply[0]:
            return False, None
        if follows is not None:
            return True, lease.unit._replace(stage=follows)
        return True, Unit(lease.unit.job, Stage.SELECTION, SELECTION_CHUNK) if reply[1] else None

    def send_back(self, lease: Lease) -> int:
        """Back to download, since the chunk's intermediate is gone. Returns how often it came back; 0: fenced off."""
        return int(self._run("send_back", *lease.unit, lease.token, self._grace_ms))

    def release(self, lease: Lease, pause_s: float, *, counts: bool = False) -> int:
        """Give the unit back untried; it is hinted again after `pause_s`.

        Returns how often the chunk was put off so, of the calls with `counts`, since it last passed a stage.
        """
        return int(self._run("release", *lease.unit, lease.token, round(pause_s * 1000), int(counts)))

    def forgive(self, lease: Lease) -> bool:
        """The work got further than any holder before: losing its worker begins to count anew. False: fenced off."""
        return bool(self._run("forgive", *lease.unit, lease.token))

    def abandon(self, unit: Unit, token_prefix: str) -> None:
        """The process that held the unit is known to be dead: its lease ends now."""
        self._run("abandon", str(unit), token_prefix)

    def split(self, lease: Lease, attempts: int) -> list[Unit]:
        """Replace the chunk by its halves, each starting with `attempts` against it. Returns the units to hint."""
        middle = len(lease.samples) // 2
        if middle == 0:
            return []  # one sample has no halves, and a chunk of none would be split for ever
        halves = [pack_samples(half) for half in (lease.samples[:middle], lease.samples[middle:])]
        if not self._run("split", *lease.unit, lease.token, *halves, attempts, self._grace_ms):
            return []
        return [Unit(lease.unit.job, Stage.DOWNLOAD, f"{lease.unit.chunk}.{half}") for half in (0, 1)]

    def replan(self, lease: Lease) -> int:
        """Features vanished: plan the job anew. Returns the round that begins, 0 when fenced off."""
        return int(self._run("replan", lease.unit.job, lease.token))

    def fail(self, job_id: str, problem: Problem) -> None:
        """The job cannot succeed; the dispatcher writes it down."""
        self._run("fail", job_id, problem.model_dump_json())

    @guarded("ledger")
    def failures(self, job_id: str) -> dict[int, FailedAt]:
        """Samples that any stage gave up, by ordinal."""
        packed = cast(list[bytes], self._redis.hvals(keys.RESULTS + job_id))
        return {failure.ordinal: failure for part in packed for failure in unpack_failed(part)}

    @guarded("ledger")
    def job(self, job_id: str) -> JobLedger | None:
        raw = cast(dict[bytes, bytes], self._redis.hgetall(keys.JOB + job_id))
        return _job(job_id, raw) if raw else None

    # Signs of life and figures.

    @guarded("ledger")
    def sign_of_life(self, role: str, node: str) -> None:
        """`role`: a stage or "dispatcher". Call every few seconds."""
        now = self._now_s()
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.WORKERS, {f"{role} {node}": now})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", now - 4 * WORKER_TTL_S)
            pipe.execute()

    @guarded("ledger")
    def gone(self, role: str, node: str) -> None:
        self._redis.zrem(keys.WORKERS, f"{role} {node}")

    @guarded("ledger")
    def workers(self) -> dict[str, int]:
        """Processes that gave a sign of life lately, by stage, and "dispatcher"."""
        alive: dict[str, int] = {}
        since = self._now_s() - WORKER_TTL_S
        for name in cast(list[bytes], self._redis.zrangebyscore(keys.WORKERS, since, "+inf")):
            role = text(name).split(" ", 1)[0]
            alive[role] = alive.get(role, 0) + 1
        return alive

    def _now_s(self) -> float:
        # Redis' clock, as for leases: those of several hosts differ.
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def metrics(self) -> LedgerMetrics:
        units, held = self.open_units()
        raw = self._counters()

        def count(prefix: str) -> dict[str, float]:
            return {name.removeprefix(prefix): value for name, value in raw.items() if name.startswith(prefix)}

        return LedgerMetrics(
            samples=_whole(count("samples:")),
            seconds=count("seconds:"),
            waiting=_by_stage(unit for unit in units if unit not in held),
            in_flight=_by_stage(unit for unit in units if unit in held),
            cache_hits=int(raw.get("cache_hits", 0)),
            cache_misses=int(raw.get("cache_misses", 0)),
            errors=_whole(count("errors:")),
            bytes_in_flight=self.bytes_in_flight(),
            expired_leases=int(raw.get("expired_leases", 0)),
            returned_chunks=int(raw.get("returned_chunks", 0)),
            claims=int(raw.get("claims", 0)),
            finished=int(raw.get("finished", 0)),
            bytes_per_chunk=raw.get("bytes:download", 0.0) / max(1.0, raw.get("chunks:download", 0.0)),
        )

    @guarded("ledger")
    def _counters(self) -> dict[str, float]:
        raw = cast(dict[bytes, bytes], self._redis.hgetall(keys.METRICS))
        return {text(name): float(value) for name, value in raw.items()}


def _job(job_id: str, row: dict[bytes, bytes]) -> JobLedger:
    raw = {text(name): text(value) for name, value in row.items()}
    return JobLedger(
        id=job_id,
        state=raw["state"],
        spec=JobSpec.from_json(raw["spec"]),
        opened=int(raw["opened"]),
        round=int(raw["round"]),
        cursor=int(raw["cursor"]),
        planned=raw["planned"] == "1",
        total=int(raw["total"]),
        cached=int(raw.get("cached", 0)),
        problem=Problem(**json.loads(raw["problem"])) if "problem" in raw else None,
    )


def _by_stage(units: Iterable[Unit]) -> dict[str, int]:
    counts = {stage.value: 0 for stage in Stage}
    for unit in units:
        counts[unit.stage.value] += 1
    return counts


def _whole(counts: dict[str, float]) -> dict[str, int]:
    return {name: int(value) for name, value in counts.items()}
