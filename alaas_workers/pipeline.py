"""The flow: the only place that knows the order of the stages. Read this file first.

    dispatcher ─► download ─► preprocess ─► inference ─► (last chunk in) ─► selection ─► report

A hint names a unit (job, stage, chunk). A worker claims it in the ledger, works under a lease that its heart beats,
leaves what it made in the cache, and marks it done; the same script that records the end opens what follows, and the
worker hints that on. Whatever dies in between, the lease runs out and the dispatcher's sweep hints the unit again.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from alaas.config import Config
from alaas.errors import AlaasError, Transient, Unavailable
from alaas.jobs import Problem, Stage
from alaas_workers.app import Hints
from alaas_workers.cache import Cache
from alaas_workers.heart import Heart, LeaseLost
from alaas_workers.ledger import FailedAt, Lease, Ledger, Outcome, Unit

logger = logging.getLogger(__name__)
T = TypeVar("T")

FOLLOWS: dict[Stage, Stage | None] = {
    Stage.DOWNLOAD: Stage.PREPROCESS,
    Stage.PREPROCESS: Stage.INFERENCE,
    Stage.INFERENCE: None,  # features are kept by sample: the chunk ends here
    Stage.SELECTION: None,
}
BEFORE: dict[Stage, Stage] = {follows: stage for stage, follows in FOLLOWS.items() if follows is not None}
_PAUSE_S = 2.0
_MAX_RETURNS = 20
_MAX_VALUE_BYTES = 2**28  # Redis hangs up at 2**29, which would read as its being away, again and again
_MAX_PUT_OFFS = 150  # some seven minutes


@dataclass(frozen=True)
class Made:
    """What a stage made of a chunk: the bytes for the stage after it (empty: none), and the samples that failed."""

    data: bytes
    passed: int
    failed: list[FailedAt]


class StageWork(Protocol):
    """One stage's work on one chunk; `data` is what the stage before it made (empty for the first).

    None: the stage itself gave the unit another course in the ledger.
    """

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made | None: ...


class NotNow(Transient):
    """The unit cannot be worked on here and now; it is not the unit's fault."""

    code = "not_now"


class TooBig(AlaasError):
    """The chunk holds more bytes than may be in flight; half of it will do."""

    code = "too_big"


class Pipeline:
    """What every stage's worker does around its own work. One per process."""

    def __init__(self, config: Config, ledger: Ledger, cache: Cache, hints: Hints, heart: Heart, node: str) -> None:
        self._pipeline = config.pipeline
        self._ledger, self._cache, self._hints, self._heart, self._node = ledger, cache, hints, heart, node

    def run(self, unit: Unit, delivery: str, work: StageWork) -> None:
        """Do one unit, if it is still open and nobody holds it. `delivery` is the message's id (see UnitRequest)."""
        lease = self._ledger.claim(unit, f"{token_prefix(self._node, delivery)}{secrets.token_hex(8)}")
        if lease is None:
            return  # finished, cancelled, or in other hands: a hint that came late or twice
        if lease.attempts > self._pipeline.max_attempts:
            # The message of a worker that died came back sooner than the sweep. Without end it would kill the next one.
            self._ledger.abandon(unit, lease.token)
            return
        try:
            with self._heart.hold(lease) as hold:
                self._work(lease, work, hold.progress)
        except LeaseLost:
            logger.warning("%s: lease lost, work dropped", unit)
        except TooBig:
            self._split(lease)
        except Transient as error:
            self._put_off(lease, error)
        except Exception:
            # A bug or a hostile sample. The attempt counts, the sweep splits the chunk in the end.
            logger.exception("%s: failed", unit)
            self._ledger.abandon(unit, lease.token)

    def _work(self, lease: Lease, work: StageWork, progress: Callable[[], None]) -> None:
        started = time.perf_counter()
        before = BEFORE.get(lease.unit.stage)
        source = lease.unit._replace(stage=before) if before else None
        data = self._cache.take(source) if source else b""
        if data is None:
            self._send_back(lease)
            return
        made = work(lease, data, progress)
        if made is None:
            return
        if len(made.data) > _MAX_VALUE_BYTES:
            raise TooBig("more bytes than Redis takes in one value")
        progress()  # what a worker that lost its lease would put there, nobody would take away
        if made.passed and made.data:
            self._cache.put(lease.unit, made.data)
        follows = FOLLOWS[lease.unit.stage] if made.passed else None
        outcome = Outcome(made.passed, made.failed, len(made.data))
        seconds = time.perf_counter() - started
        if self._finish(lease, follows, outcome, seconds) and source:
            self._cache.drop(source)  # never another holder's input

    def _finish(self, lease: Lease, follows: Stage | None, outcome: Outcome, seconds: float) -> bool:
        # Work is dear and this call is safe to repeat, so a Redis that restarts is waited for as long as the lease.
        finished, opened = patiently(
            lambda: self._ledger.done(lease, follows, outcome, seconds), self._pipeline.lease_s
        )
        if not finished:
            logger.warning("%s: another worker finished it first", lease.unit)
        if opened is not None:
            self._hints.send(opened, opened.stage)
        return finished

    def _send_back(self, lease: Lease) -> None:
        """A cache miss is no error: the bytes are fetched again."""
        returns = self._ledger.send_back(lease)
        if returns > _MAX_RETURNS:
            self._ledger.fail(lease.unit.job, _cache_too_small())
        elif returns:
            again = lease.unit._replace(stage=Stage.DOWNLOAD)
            self._hints.send(again, again.stage)

    def _put_off(self, lease: Lease, error: Transient) -> None:
        """What is away comes back some day; a unit that no worker can work on would hold its window for ever."""
        logger.warning("%s: put off (%s)", lease.unit, error)
        counts = isinstance(error, NotNow)
        times = patiently(lambda: self._ledger.release(lease, _PAUSE_S, counts=counts), self._pipeline.lease_s)
        if times > _MAX_PUT_OFFS:
            self._ledger.fail(lease.unit.job, _never_possible(error))

    def _split(self, lease: Lease) -> None:
        halves = self._ledger.split(lease, attempts=0)
        for unit in halves:
            self._hints.send(unit, unit.stage)
        if not halves:  # one sample: it is tried as often as any that fails, and given up
            self._ledger.abandon(lease.unit, lease.token)


def token_prefix(node: str, delivery: str) -> str:
    """How the tokens of one message's delivery to one worker begin: its parent knows them when the child dies."""
    return f"{node}/{delivery}/"


def patiently(call: Callable[[], T], for_s: float) -> T:
    """Repeat `call` while Redis is away, for `for_s` seconds at most."""
    deadline = time.monotonic() + for_s
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)


def _never_possible(error: AlaasError) -> Problem:
    detail = f"no worker could go on with it for minutes: {error.detail}"
    return Problem(title="The job cannot go on", status=503, code="not_now", detail=detail)


def _cache_too_small() -> Problem:
    return Problem(
        title="The cache is too small",
        status=503,
        code="cache_too_small",
        detail="tensors between the stages vanished again and again; raise the cache's memory or lower"
        " pipeline.in_flight_bytes and pipeline.chunk_size",
    )
