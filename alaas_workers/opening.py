"""What a job needs before it can be scanned: which features, of which weights, and whether the cache can hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alaas.config import Config
from alaas.errors import AlaasError, ModelError
from alaas.jobs import OF_PASSES, Feature, ModelCard, Problem
from alaas_workers.cache import feature_cost_bytes
from alaas_workers.catalog import JobRecord
from alaas_workers.choosing import refuse_above_cap_of, strategy_refused
from alaas_workers.ledger import JobSpec
from alaas_workers.model_cards import row_bytes
from alaas_workers.wanted import Wanted, check_same_classes, wanted_of
from strategies import StrategyError

_CACHE_SHARE = 0.8  # of the cache's memory that one job's features may take
_Asked = tuple[ModelCard, tuple[Feature, ...]]  # a model, and what inference computes with it


class JobRefused(AlaasError):
    """The job cannot be run as it is; `problem` says why, and becomes its error."""

    code = "job_refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, field=problem.field)
        self.problem = problem


def spec_of(record: JobRecord, cards: Sequence[ModelCard], room_bytes: int | None, config: Config) -> JobSpec | None:
    """The job as the stages need it; None while no worker has told what its models are. Raises JobRefused.

    `cards`: of the job's models, in its order. `room_bytes`: the memory limit of the cache's Redis; None: it has none.
    """
    try:
        refuse_above_cap_of(record)
    except StrategyError as error:
        raise JobRefused(strategy_refused(error, record)) from error
    wanted = wanted_of(record)
    asked = list(zip(cards, features_needed(wanted, len(cards), config), strict=True))
    if not _are_known([card for card, features in asked if features]):
        return None
    _check(wanted, cards)
    # A scan ahead takes what there is; a query was just seen to get all of it.
    given = [(card, tuple(f for f in features if f in (card.outputs or ()))) for card, features in asked]
    members = [_member(record, card, features) for card, features in _that_fit(record, given, room_bytes)]
    return replace(members[0], others=tuple(members[1:]))


def import_spec(record: JobRecord) -> JobSpec:
    """An import has no model, and computes nothing."""
    return JobSpec(record.owner, record.dataset_id, "", "", "", (), imports=True)


def _are_known(cards: Sequence[ModelCard]) -> bool:
    unknown = [card for card in cards if card.fingerprint is None]
    for card in unknown:
        if card.error is not None:
            raise JobRefused(_model_failed(card))
    return not unknown


def _check(wanted: Wanted | None, cards: Sequence[ModelCard]) -> None:
    try:
        check_same_classes(cards)
        if wanted is not None:
            wanted.check_cards(cards)
    except ModelError as error:
        raise JobRefused(_not_so(error)) from error


def features_needed(wanted: Wanted | None, models: int, config: Config) -> list[tuple[Feature, ...]]:
    """What inference must compute with each of a job's models, in a fixed order. `wanted`: None for a scan."""
    if wanted is None:
        return [tuple(feature for feature in Feature if feature in config.pipeline.scan_features)] * models
    return wanted.features(models)


def _member(record: JobRecord, card: ModelCard, features: tuple[Feature, ...]) -> JobSpec:
    if not features:
        return JobSpec(record.owner, record.dataset_id, card.name, "", "", ())
    passes = (card.passes or 0) if OF_PASSES.intersection(features) else 0
    fingerprint, transform = card.fingerprint or "", card.transform or ""
    return JobSpec(record.owner, record.dataset_id, card.name, fingerprint, transform, features, passes)


def _that_fit(record: JobRecord, asked: list[_Asked], room_bytes: int | None) -> list[_Asked]:
    """A scan ahead keeps what fits into the cache; a query that does not fit could never be answered."""
    needed = _cost_bytes(record, asked)
    if room_bytes is None or needed <= (may_take := _CACHE_SHARE * room_bytes):
        return asked
    if record.kind == "scan":
        first_only = [(card, features[:1]) for card, features in asked]
        if _cost_bytes(record, first_only) <= may_take:
            return first_only
    raise JobRefused(_cache_too_small(needed, round(may_take)))


def _cost_bytes(record: JobRecord, asked: list[_Asked]) -> int:
    """What the features of the job's pool take in the cache."""
    return record.unlabelled * sum(
        feature_cost_bytes(row_bytes(card, feature)) for card, features in asked for feature in features
    )


def internal_problem() -> Problem:
    detail = "the dispatcher failed at this job again and again; its log says why"
    return Problem(title="Internal error", status=500, code="internal", detail=detail)


def deadline_exceeded(record: JobRecord) -> Problem:
    detail = f"the job did not end within its deadline of {record.deadline_s:g} s"
    return Problem(title="The deadline passed", status=504, code="deadline_exceeded", detail=detail)


def no_such_model(models: Sequence[str], config: Config) -> Problem:
    gone = ", ".join(repr(model) for model in models if model not in config.models)
    detail = f"the configuration has no model {gone} any more"
    return Problem(title="No such model", status=422, code="model_error", detail=detail, field="model")


def _model_failed(card: ModelCard) -> Problem:
    detail = f"the model {card.name!r} could not be loaded: {card.error}"
    return Problem(title="The model cannot be used", status=422, code="model_error", detail=detail, field="model")


def _not_so(error: ModelError) -> Problem:
    return Problem(title=error.title, status=422, code=error.code, detail=error.detail, field=error.field)


def _cache_too_small(needed: int, room: int) -> Problem:
    detail = (
        f"the pool's features take about {needed / 2**20:.0f} MiB and the cache has {room / 2**20:.0f} MiB for them;"
        " raise cache.max_memory_bytes (or maxmemory of the cache's Redis)"
    )
    return Problem(title="The cache is too small", status=507, code="cache_too_small", detail=detail)
