"""Judges a job before it is accepted: pool, model, strategy, budget and URIs; what is wrong is said with its field."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from alaas.config import Config
from alaas.errors import InvalidRequest, ModelError, SampleCode, TooLarge, Unavailable
from alaas.jobs import Feature, JobRequest, ModelCard, Policy, StrategyRequest
from alaas.manifests import Columns
from alaas_workers.catalog import JobRecord, sample_id
from alaas_workers.sources import check_uri
from alaas_workers.wanted import check_same_classes, wanted_by
from api.parts import Parts
from strategies import Strategy, StrategyError, get_strategy
from strategies.caps import refuse_above_cap

logger = logging.getLogger(__name__)
LEAST_FREE_FRACTION = 0.1
_SAMPLE_ID = re.compile("[0-9a-f]{32}")
_URI_FAULTS = {
    SampleCode.BAD_URI: "is no absolute URI or path that can be read here, or holds credentials",
    SampleCode.UNKNOWN_SCHEME: "has a scheme that this server does not read",
}


def submit(
    own: Parts, owner: str, asked: JobRequest, key: str | None, digest: str, *, field: str = "uris.{}"
) -> JobRecord:
    """Accept the job: checked, in the catalog, and the dispatcher woken. `field` names the URI at an index."""
    _check_shape(asked)
    if asked.kind == "import":
        return _submit_import(own, owner, asked, key, digest)
    modality = _modality(own, owner, asked)
    model = _model(asked, own.config, modality)
    modality = _check_modality(model, modality, own.config)
    cards = [own.cards.get(name) for name in ([model] if isinstance(model, str) else model)]
    strategy = None if asked.kind == "scan" else chosen_strategy(asked.strategy, own.config)
    policy = None if asked.kind == "scan" else _policy(asked, own.config)
    _check_needs(strategy, cards)
    _check_policy(policy, cards[0])
    _check_uris(asked, own.config, field)
    _check_cap(strategy, asked)
    kept = {"strategy": as_dict(strategy) if strategy else None, "policy": policy, "modality": modality}
    return _create(own, owner, asked, key, digest, model=model, **kept)


def _create(own: Parts, owner: str, asked: JobRequest, key: str | None, digest: str, **kept: Any) -> JobRecord:
    if own.ledger.free_fraction() < LEAST_FREE_FRACTION:
        raise Unavailable("the ledger's memory is nearly full; jobs that end make room", retry_after_s=10)
    record, _ = own.catalog.create_job(
        owner,
        asked,
        max_active=own.config.api.max_active_jobs,
        idempotency_key=key,
        request_digest=digest if key else None,
        **kept,
    )
    _wake(own, record)
    return record


def _submit_import(own: Parts, owner: str, asked: JobRequest, key: str | None, digest: str) -> JobRecord:
    listing = asked.listing
    if asked.dataset_id is None or listing is None:
        missing = "listing" if listing is None else "dataset_id"
        raise InvalidRequest("is required: an import adds what `listing` lists to a dataset", field=missing)
    modality = own.catalog.get_dataset(owner, asked.dataset_id).modality
    Columns.of(listing, modality)
    for name in ("column", "text_column", "label_column", "format"):
        if listing.is_prefix and getattr(listing, name) is not None:
            raise InvalidRequest("a prefix (a URI that ends in /) has no columns", field=f"listing.{name}")
    fault = check_uri(listing.uri, own.config)
    if fault is not None:
        raise InvalidRequest(_URI_FAULTS.get(fault, str(fault)), field="listing.uri")
    return _create(own, owner, asked, key, digest, model="", strategy=None)


def _wake(own: Parts, record: JobRecord) -> None:
    """Tell the dispatcher now. It also looks into the catalog by itself, so that nothing accepted depends on this."""
    try:
        own.ledger.submit(record.id)
    except Unavailable:
        logger.warning("the ledger went away after job %s was accepted; the dispatcher finds it later", record.id)


_NOT_OF_IMPORTS = ("uris", "modality", "model", "strategy", "policy", "budget")
_NOT_OF_SCANS = ("budget", "strategy", "policy")


def _check_shape(asked: JobRequest) -> None:
    if asked.kind == "import":
        _refuse(asked, _NOT_OF_IMPORTS, "an import takes only dataset_id and listing")
        return
    if (asked.dataset_id is None) == (asked.uris is None):
        raise InvalidRequest("give either dataset_id or uris", field="dataset_id")
    if asked.kind == "query" and asked.budget is None:
        raise InvalidRequest("is required: how many samples to choose", field="budget")
    if asked.kind == "scan":
        _refuse(asked, _NOT_OF_SCANS, "a scan chooses nothing")
    _refuse(asked, ("listing",), "only an import reads a listing")
    if asked.dataset_id is not None:
        _refuse(asked, ("modality",), "the dataset has its own")


def _refuse(asked: JobRequest, fields: Sequence[str], why: str) -> None:
    for name in fields:
        if getattr(asked, name) is not None:
            raise InvalidRequest(why, field=name)


def _modality(own: Parts, owner: str, asked: JobRequest) -> str | None:
    """Of the job's samples, where something says it. Raises NotFound for a dataset that is not there."""
    if asked.dataset_id is not None:
        return own.catalog.get_dataset(owner, asked.dataset_id).modality
    return asked.modality


def _check_modality(model: str | list[str], modality: str | None, config: Config) -> str:
    """What the samples are, and every model takes. Raises ModelError that names both."""
    names = [model] if isinstance(model, str) else model
    for name in names:
        takes = config.models[name].modality
        if modality is None:
            modality = takes
        elif takes != modality:
            detail = f"the model {name!r:.80} takes {takes}, and the samples are {modality}"
            raise ModelError(detail, field="model")
    return modality or "vision"


def _default_model(modality: str | None, config: Config) -> str:
    """The first of the samples' modality; the first of all where none is, which `_check_modality` then refuses."""
    fitting = (name for name, model in config.models.items() if modality in (None, model.modality))
    return next(fitting, config.default_model)


def _model(asked: JobRequest, config: Config, modality: str | None) -> str | list[str]:
    """As asked: one, or a committee."""
    if not isinstance(asked.model, list):
        return _known_model(_default_model(modality, config) if asked.model is None else asked.model, config, "model")
    if len(asked.model) < 2:
        raise InvalidRequest("a committee needs two models or more; give one as a name", field="model")
    for place, name in enumerate(asked.model):
        field = f"model.{place}"
        if _known_model(name, config, field) in asked.model[:place]:
            raise InvalidRequest(f"a committee holds each model once; {name[:60]!a} is repeated", field=field)
    return asked.model


def _known_model(name: str, config: Config, field: str) -> str:
    if name not in config.models:
        near = get_close_matches(name, list(config.models), n=1, cutoff=0.0)
        raise InvalidRequest(f"no model {name[:60]!a}; nearest known: {near[0]!a}", field=field)
    return name


def chosen_strategy(asked: str | StrategyRequest | None, config: Config) -> Strategy:
    """The strategy that a request names; else the configuration's. Raises InvalidRequest naming the parameter."""
    chosen = config.strategy if asked is None else asked
    if isinstance(chosen, str):
        chosen = {"type": chosen}
    parameters: dict[str, Any] = dict(chosen if isinstance(chosen, dict) else chosen.model_dump())
    try:
        return get_strategy(str(parameters.pop("type")), parameters)
    except StrategyError as error:
        field = "strategy" if error.field in (None, "type") else f"strategy.{error.field}"
        raise InvalidRequest(error.detail, field=field) from None


def as_dict(strategy: Strategy) -> dict[str, Any]:
    """With every parameter, so that a default that changes later does not change this job."""
    return {"type": type(strategy).__name__, **strategy.model_dump(mode="json")}


def _check_needs(strategy: Strategy | None, cards: Sequence[ModelCard]) -> None:
    """As far as is known of the models; the dispatcher asks again when a worker has loaded them."""
    if strategy is not None:
        wanted = wanted_by(strategy)
        wanted.check_names()
        wanted.check_count(len(cards))
        wanted.check_cards(cards)
    check_same_classes(cards)


def _check_cap(strategy: Strategy | None, asked: JobRequest) -> None:
    """Of the URIs of the request; of a dataset the dispatcher looks, before anything is scanned."""
    cap = getattr(strategy, "max_pool", None)
    if isinstance(cap, int) and asked.uris is not None:
        try:
            refuse_above_cap(type(strategy).__name__, len(set(asked.uris)), cap, "max_pool")
        except StrategyError as error:
            raise InvalidRequest(error.detail, field=f"strategy.{error.field}") from None


def _policy(asked: JobRequest, config: Config) -> dict[str, Any] | None:
    """With every rule, and ids instead of URIs; None where there are no rules."""
    policy = config.policy if asked.policy is None else asked.policy
    if policy == Policy():
        return None
    excluded = {one if _SAMPLE_ID.fullmatch(one) else sample_id(one) for one in policy.exclude}
    return policy.model_dump(mode="json") | {"exclude": sorted(excluded)}


def _check_policy(policy: dict[str, Any] | None, card: ModelCard) -> None:
    for rule, need in (("min_distance", Feature.EMBEDDINGS), ("max_per_class", Feature.PROBABILITIES)):
        if policy and policy[rule] is not None and card.outputs is not None and need not in card.outputs:
            detail = f"{rule} needs {need}, which the model {card.name!r} does not give"
            raise ModelError(detail, field=f"policy.{rule}")


def _check_uris(asked: JobRequest, config: Config, field: str) -> None:
    if len(asked.uris or []) > config.api.max_pool:
        raise TooLarge(f"a pool holds {config.api.max_pool} samples at most", field=field.partition(".")[0])
    for index, uri in enumerate(asked.uris or []):
        fault = check_uri(uri, config)
        if fault is not None:
            raise InvalidRequest(_URI_FAULTS.get(fault, str(fault)), field=field.format(index))
