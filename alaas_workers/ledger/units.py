"""The ledger's words: a unit of work, the samples of its chunk, and the lease under which a worker holds it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alaas.errors import InvalidRequest, SampleCode
from alaas.jobs import OF_PASSES, Feature, ModelCard, Stage


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
    """What stages need to know of a job; written once when the ledger opens it.

    A committee's job is that of its first model, with the jobs of the `others` beside it: each model's features are
    kept as if it were asked alone.
    """

    owner: str
    dataset_id: str
    model: str
    fingerprint: str
    transform: str
    features: tuple[Feature, ...]
    passes: int = 0  # over each sample, for the features that are made of them
    others: tuple[JobSpec, ...] = ()
    imports: bool = False  # it reads a listing instead of samples: one unit at the selection, and no chunks

    @property
    def members(self) -> tuple[JobSpec, ...]:
        """One for each model, in the order in which the job names them."""
        return (self, *self.others)

    @property
    def transforms(self) -> tuple[str, ...]:
        """The distinct transforms of the members that compute anything; arrays travel once for each."""
        return tuple(dict.fromkeys(member.transform for member in self.members if member.features))

    @property
    def reads_samples(self) -> bool:
        """Whether anything is computed of the samples; a random draw, say, needs nothing of them."""
        return any(member.features for member in self.members)

    def is_planned_for(self, card: ModelCard) -> bool:
        """Whether what the card's model computes of a sample is what this member was planned for."""
        if OF_PASSES.intersection(self.features) and card.passes != self.passes:
            return False
        return not self.features or card.fingerprint == self.fingerprint

    def to_json(self) -> str:
        return json.dumps(self._plain(), sort_keys=True)

    def _plain(self) -> dict[str, Any]:
        return self.__dict__ | {"features": list(self.features), "others": [other._plain() for other in self.others]}

    @classmethod
    def from_json(cls, text: str | bytes) -> JobSpec:
        return cls._from_plain(json.loads(text))

    @classmethod
    def _from_plain(cls, raw: dict[str, Any]) -> JobSpec:
        features = tuple(Feature(name) for name in raw["features"])
        others = tuple(cls._from_plain(other) for other in raw.get("others", ()))
        return cls(**raw | {"features": features, "others": others})


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
