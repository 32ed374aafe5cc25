"""The ledger's words: a unit of work, the samples of its chunk, and the lease under which a worker holds it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alaas.errors import InvalidRequest, SampleCode
from alaas.jobs import Feature, Stage


class Unit(NamedTuple):
    """One chunk at one stage: what is queued, leased and finished."""

    job: str
    stage: Stage
    chunk: str

    def __str__(self) -> str:
        return f"{self.job}|{self.stage}|{self.chunk}"

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Raises InvalidRequest for anything that is not a unit: messages come from outside."""
        parts = text.split("|") if isinstance(text, str) else []
        if len(parts) != 3 or parts[1] not in list(Stage) or not all(parts):
            raise InvalidRequest("not a unit of work", field="unit")
        return cls(parts[0], Stage(parts[1]), parts[2])


class ChunkSample(NamedTuple):
    """A sample as stages see it. `ordinal` is its place in its dataset, `version` what the planner saw ("" unknown)."""

    ordinal: int
    uri: str
    version: str


class FailedAt(NamedTuple):
    """A sample that a stage gave up, and why."""

    ordinal: int
    code: SampleCode
    detail: str


@dataclass(frozen=True)
class JobSpec:
    """What stages need to know of a job; written once when the ledger opens it."""

    owner: str
    dataset_id: str
    model: str
    fingerprint: str
    transform: str
    features: tuple[Feature, ...]

    def to_json(self) -> str:
        return json.dumps(self.__dict__ | {"features": list(self.features)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> JobSpec:
        raw: dict[str, Any] = json.loads(text)
        return cls(**raw | {"features": tuple(Feature(name) for name in raw["features"])})


@dataclass(frozen=True)
class Lease:
    """A unit held by one worker until it is silent for too long. Every write of its holder shows `token`."""

    unit: Unit
    token: str
    spec: JobSpec
    samples: tuple[ChunkSample, ...]
    attempts: int


@dataclass
class Outcome:
    """What a stage made of a chunk: how many samples go on, which failed, and the bytes left in the cache."""

    passed: int
    failed: list[FailedAt] = field(default_factory=list)
    size_bytes: int = 0


def pack_samples(samples: Sequence[ChunkSample]) -> bytes:
    return zlib.compress(json.dumps(samples, ensure_ascii=False, separators=(",", ":")).encode(), 1)


def unpack_samples(data: bytes) -> tuple[ChunkSample, ...]:
    return tuple(ChunkSample(*item) for item in json.loads(zlib.decompress(data)))


def pack_failed(failed: Sequence[FailedAt]) -> bytes:
    return zlib.compress(json.dumps(failed, ensure_ascii=False).encode(), 1) if failed else b""


def unpack_failed(data: bytes) -> list[FailedAt]:
    return [FailedAt(ordinal, SampleCode(code), detail) for ordinal, code, detail in json.loads(zlib.decompress(data))]
