"""A job's strategy and policy over the pool that was gathered: what they look at, and what they choose and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from alaas.jobs import Chosen, Neighbour, Problem
from alaas_workers.catalog import JobRecord, PoolSample
from strategies import (
    BatchPolicy,
    Explanation,
    Pool,
    Strategy,
    StrategyError,
    explain,
    get_policy,
    get_strategy,
    select_batch,
)
from strategies.caps import refuse_above_cap


@dataclass(frozen=True)
class Choice:
    chosen: list[Chosen]
    warnings: list[str]


def strategy_of(record: JobRecord) -> Strategy:
    """The job's strategy. Raises StrategyError for one that is not there any more."""
    parameters = dict(record.strategy or {})
    return get_strategy(parameters.pop("type"), parameters)


def policy_of(record: JobRecord) -> BatchPolicy:
    return get_policy(record.policy)


def looked_at(record: JobRecord) -> frozenset[str]:
    """Features that a query needs, or takes into account where there are any."""
    strategy, policy = strategy_of(record), policy_of(record)
    return strategy.needs | strategy.uses | policy.needs | policy.uses


def choice_of(record: JobRecord, pool: Pool, samples: Sequence[PoolSample], labelled: Sequence[PoolSample]) -> Choice:
    """Choose from `pool`, whose rows are `samples`; `labelled` are those of "labelled_embeddings". StrategyError."""
    policy = policy_of(record)
    sources = None if policy.max_per_source is None else [source_of(sample.uri) for sample in samples]
    batch = select_batch(strategy_of(record), pool, record.budget or 0, policy, sources)
    explanation = explain(pool, batch)
    chosen = [
        Chosen(
            rank=rank + 1,
            id=samples[index].id,
            uri=samples[index].uri,
            score=float(batch.scores[rank]),
            drawn=batch.drawn[rank],
            parts=_parts(explanation, rank),
            nearest=_nearest(explanation, rank, samples, labelled),
            stands_for=None if explanation.stands_for is None else int(explanation.stands_for[rank]),
        )
        for rank, index in enumerate(batch.indices.tolist())
    ]
    return Choice(chosen, [*batch.warnings, *explanation.warnings])


def refuse_above_cap_of(record: JobRecord) -> None:
    """Raises StrategyError where the strategy's own `max_pool` is less than the job's pool: before it is scanned."""
    cap = (record.strategy or {}).get("max_pool")
    if isinstance(cap, int):
        refuse_above_cap(str((record.strategy or {})["type"]), record.unlabelled, cap, "max_pool")


def strategy_refused(error: StrategyError, record: JobRecord) -> Problem:
    """A failed job's error; its field is the strategy's parameter where the error names one."""
    title = "The strategy cannot be used so"
    field = f"strategy.{error.field}" if error.field in (record.strategy or {}) else "strategy"
    return Problem(title=title, status=422, code="strategy_error", detail=str(error), field=field)


def source_of(uri: str) -> str:
    """Scheme, host and folder. What was sent up by content has neither, and is one source altogether."""
    if uri.startswith("/"):
        return f"file://{_folder(uri)}"
    try:
        parts = urlsplit(uri)
    except ValueError:
        return _folder(uri)
    if parts.scheme == "upload":
        return "upload:"
    return f"{parts.scheme}://{parts.netloc.lower()}{_folder(parts.path)}"


def _folder(path: str) -> str:
    return path.rpartition("/")[0] + "/"


def _parts(explanation: Explanation, rank: int) -> dict[str, float] | None:
    parts = {name: float(values[rank]) for name, values in explanation.parts.items()}
    return {name: value for name, value in parts.items() if not math.isnan(value)} or None


def _nearest(
    explanation: Explanation, rank: int, samples: Sequence[PoolSample], labelled: Sequence[PoolSample]
) -> Neighbour | None:
    found = explanation.nearest[rank] if explanation.nearest else None
    if found is None:
        return None
    sample = (labelled if found.kind == "labelled" else samples)[found.index]
    return Neighbour(id=sample.id, uri=sample.uri, kind=found.kind, distance=found.distance)
