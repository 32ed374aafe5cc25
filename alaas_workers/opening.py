"""What a job needs before it can be scanned: which features, of which weights, and whether the cache can hold them."""

from __future__ import annotations

from alaas.config import Config
from alaas.errors import AlaasError
from alaas.jobs import Feature, ModelCard, Problem
from alaas_workers.cache import feature_cost_bytes
from alaas_workers.catalog import JobRecord
from alaas_workers.choosing import needed
from alaas_workers.ledger import JobSpec
from alaas_workers.model_cards import row_bytes

_CACHE_SHARE = 0.8  # of the cache's memory that one job's features may take


class JobRefused(AlaasError):
    """The job cannot be run as it is; `problem` says why, and becomes its error."""

    code = "job_refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, field=problem.field)
        self.problem = problem


def spec_of(record: JobRecord, card: ModelCard, room_bytes: int | None, config: Config) -> JobSpec | None:
    """The job as the stages need it; None while no worker has told what its model is. Raises JobRefused.

    `room_bytes`: the memory limit of the cache's Redis; None: it has none.
    """
    features = features_needed(record, config)
    if features and card.fingerprint is None:
        if card.error is not None:
            raise JobRefused(_model_failed(card))
        return None
    features = _that_fit(record, card, _that_the_model_gives(record, card, features), room_bytes)
    fingerprint, transform = (card.fingerprint or "", card.transform or "") if features else ("", "")
    return JobSpec(record.owner, record.dataset_id, record.model, fingerprint, transform, features)


def features_needed(record: JobRecord, config: Config) -> tuple[Feature, ...]:
    """What inference must compute for a job, in a fixed order."""
    if record.kind == "scan" or record.strategy is None:
        return tuple(feature for feature in Feature if feature in config.pipeline.scan_features)
    needs = needed(record)
    return tuple(feature for feature in Feature if feature.value in needs)


def _that_the_model_gives(record: JobRecord, card: ModelCard, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """A scan ahead takes what there is; a query needs all of it."""
    given = card.outputs or []
    lacking = [feature for feature in features if feature not in given]
    if lacking and record.kind != "scan":
        raise JobRefused(_not_an_output(card, lacking[0]))
    return tuple(feature for feature in features if feature in given)


def _that_fit(
    record: JobRecord, card: ModelCard, features: tuple[Feature, ...], room_bytes: int | None
) -> tuple[Feature, ...]:
    """A scan ahead keeps what fits into the cache; a query that does not fit could never be answered."""
    if room_bytes is None or not features:
        return features
    costs = {feature: record.unlabelled * feature_cost_bytes(row_bytes(card, feature)) for feature in features}
    may_take = _CACHE_SHARE * room_bytes
    if sum(costs.values()) <= may_take:
        return features
    if record.kind == "scan" and costs[features[0]] <= may_take:
        return features[:1]
    raise JobRefused(_cache_too_small(sum(costs.values()), round(may_take)))


def internal_problem() -> Problem:
    detail = "the dispatcher failed at this job again and again; its log says why"
    return Problem(title="Internal error", status=500, code="internal", detail=detail)


def deadline_exceeded(record: JobRecord) -> Problem:
    detail = f"the job did not end within its deadline of {record.deadline_s:g} s"
    return Problem(title="The deadline passed", status=504, code="deadline_exceeded", detail=detail)


def no_such_model(model: str) -> Problem:
    detail = f"the configuration has no model {model!r} any more"
    return Problem(title="No such model", status=422, code="model_error", detail=detail, field="model")


def _model_failed(card: ModelCard) -> Problem:
    detail = f"the model {card.name!r} could not be loaded: {card.error}"
    return Problem(title="The model cannot be used", status=422, code="model_error", detail=detail, field="model")


def _not_an_output(card: ModelCard, feature: Feature) -> Problem:
    detail = f"the strategy needs {feature}, which the model {card.name!r} does not give"
    return Problem(title="The model cannot be used so", status=422, code="model_error", detail=detail, field="strategy")


def _cache_too_small(needed: int, room: int) -> Problem:
    detail = (
        f"the pool's features take about {needed / 2**20:.0f} MiB and the cache has {room / 2**20:.0f} MiB for them;"
        " raise cache.max_memory_bytes (or maxmemory of the cache's Redis)"
    )
    return Problem(title="The cache is too small", status=507, code="cache_too_small", detail=detail)
