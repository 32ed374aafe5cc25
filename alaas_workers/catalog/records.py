"""What the catalog gives out beside the wire types: a job with its snapshot, and the samples of a pool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row

from alaas.jobs import Job, JobState, Problem, Progress, Stage, StageProgress


class PoolSample(NamedTuple):
    """A sample as scans read it; `version` is what its source said of it last, "" while unknown.

    `label` is given of those that are read as labelled samples.
    """

    ordinal: int
    id: str
    uri: str
    version: str
    label: str | None = None


@dataclass(frozen=True)
class JobRecord:
    """A job as stored. Its pool: ordinals below `pool_size` that had no label when it was accepted."""

    id: str
    kind: str
    state: JobState
    owner: str
    dataset_id: str
    model: str | list[str]  # a list: a committee
    strategy: dict[str, Any] | None
    budget: int | None
    seed: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    deadline_s: float | None
    progress: Progress
    error: Problem | None
    pool_size: int  # a bound on ordinals: samples of the dataset at submission, labelled ones included
    unlabelled: int  # how many of these are in the pool
    duplicates: int
    idempotency_key: str | None
    request_digest: str | None
    policy: dict[str, Any] | None = None
    listing: dict[str, Any] | None = None  # of an import, which has no model, strategy or pool

    @property
    def models(self) -> list[str]:
        """One, or a committee's, in the order in which the request names them."""
        return [self.model] if isinstance(self.model, str) else self.model

    def to_job(self) -> Job:
        """The wire type."""
        return Job(**{name: getattr(self, name) for name in Job.model_fields})


def furthest(one: Progress, other: Progress) -> Progress:
    """Element-wise maximum: what is told of a job's progress only moves forward."""
    stages = dict(one.stages)
    for stage, there in other.stages.items():
        here = stages.get(stage, there)
        stages[stage] = StageProgress(done=max(here.done, there.done), total=max(here.total, there.total))
    return Progress(
        total=max(one.total, other.total),
        cached=max(one.cached, other.cached),
        failed=max(one.failed, other.failed),
        stages={stage: stages[stage] for stage in Stage if stage in stages},
    )


def to_record(row: Row[Any]) -> JobRecord:
    """`row`: the columns of `jobs`, with `dataset_id` of its dataset."""
    fields = {name: getattr(row, name) for name in JobRecord.__dataclass_fields__}
    return JobRecord(
        **fields
        | {
            "state": JobState(row.state),
            "model": row.model if row.committee is None else json.loads(row.committee),
            "strategy": None if row.strategy is None else json.loads(row.strategy),
            "policy": None if row.policy is None else json.loads(row.policy),
            "listing": None if row.listing is None else json.loads(row.listing),
            "progress": Progress.model_validate_json(row.progress),
            "error": None if row.error is None else Problem.model_validate_json(row.error),
        }
    )
