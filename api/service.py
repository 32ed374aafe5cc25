"""What the server says of itself: health, readiness, its strategies, models and public configuration."""

from __future__ import annotations

from collections.abc import Collection

from flask import Response, request

import alaas
from alaas.config import Config
from alaas.errors import Unavailable
from alaas.jobs import ModelCard, Stage, StrategyCard
from api.auth import is_known
from api.parts import Parts, parts
from api.routing import Call, RouteTable, json_answer
from api.submission import LEAST_FREE_FRACTION
from api.wire import Check, Health, Limits, ModelPage, PublicConfig, Readiness, StrategyPage
from strategies import strategy_names, strategy_type

ROUTES = RouteTable()


@ROUTES.add("GET", "/healthz", {200: Health}, is_open=True)
def healthz(call: Call) -> Response:
    """Whether the API's process answers; nothing else is asked"""
    return json_answer(Health())


@ROUTES.add("GET", "/readyz", {200: Readiness, 503: Readiness}, is_open=True)
def readyz(call: Call) -> Response:
    """Whether a job would be done now, and what is wrong if not"""
    own = parts()
    checks = _checks(own)
    if not is_known(request, own.config):  # A load balancer asks without a token, and learns only yes or no.
        checks = {name: Check(ok=check.ok, detail="") for name, check in checks.items()}
    ready = all(check.ok for check in checks.values())
    answer = Readiness(ready=ready, checks=checks)
    return json_answer(answer) if ready else json_answer(answer, 503, {"Retry-After": "5"})


def _checks(own: Parts) -> dict[str, Check]:
    checks = {"catalog": _catalog(own)} | _triton(own)
    try:
        return checks | _ledger(own) | _workers(own) | _models(own)
    except Unavailable as error:
        return checks | {"ledger": Check(ok=False, detail=error.detail)}


def _catalog(own: Parts) -> Check:
    try:
        own.catalog.ping()
    except Unavailable as error:
        return Check(ok=False, detail=error.detail)
    return Check(ok=True, detail="answers")


def _triton(own: Parts) -> dict[str, Check]:
    """Only where a model of the configuration is on it."""
    looked = own.triton.look()
    return {} if looked is None else {"triton": Check(ok=looked.ok, detail=looked.detail)}


def _ledger(own: Parts) -> dict[str, Check]:
    free = own.ledger.free_fraction()
    return {"ledger": Check(ok=free >= LEAST_FREE_FRACTION, detail=f"{free:.0%} of its memory is free")}


def _workers(own: Parts) -> dict[str, Check]:
    alive = own.ledger.workers()
    roles = ["dispatcher", *(stage.value for stage in Stage)]
    counts = {role: alive.get(role, 0) for role in roles}
    return {role: Check(ok=count > 0, detail=f"{count} processes alive") for role, count in counts.items()}


def _models(own: Parts) -> dict[str, Check]:
    cards = _cards(own)
    return {f"model {card.name}": Check(ok=card.error is None, detail=card.error or "no error") for card in cards}


def _cards(own: Parts) -> list[ModelCard]:
    return [own.cards.get(name) for name in own.config.models]


@ROUTES.add("GET", "/v1/models", {200: ModelPage})
def list_models(call: Call) -> Response:
    """The models that a job may name; what only a loaded model tells is null until a worker has loaded it"""
    return json_answer(ModelPage(items=_cards(parts()), next=None))


@ROUTES.add("GET", "/v1/strategies", {200: StrategyPage})
def list_strategies(call: Call) -> Response:
    """The strategies, what they need of a model, and their parameters"""
    return json_answer(StrategyPage(items=[strategy_card(name) for name in strategy_names()], next=None))


def strategy_card(name: str) -> StrategyCard:
    strategy = strategy_type(name)
    return StrategyCard(
        name=name,
        summary=strategy.summary,
        needs=sorted(strategy.needs),
        uses=sorted(strategy.uses),
        in_words=needs_in_words(strategy.needs, strategy.uses),
        parameters=strategy.model_json_schema(),
    )


_WORDS = {
    "pass_sums": "passes with dropout or a committee",
    "passes": "each of the passes with dropout or of a committee",
    "committee": "a committee of models",
    "boundary_distances": "distances to decision boundaries",
    "label_probabilities": "probabilities of independent labels",
    "box_scores": "scores of boxes",
    "labelled_embeddings": "embeddings of labelled samples",
    "labelled_classes": "labels",
}


def needs_in_words(needs: Collection[str], uses: Collection[str]) -> str:
    """`embeddings; embeddings of labelled samples if there are any`. A strategy of one's own may need what it likes."""
    needed, used = ([_WORDS.get(name, name.replace("_", " ")) for name in sorted(names)] for names in (needs, uses))
    must = ", ".join(needed) or "nothing"
    return f"{must}; {', '.join(used)} if there are any" if used else must


@ROUTES.add("GET", "/v1/config", {200: PublicConfig})
def public_config(call: Call) -> Response:
    """The server's name, defaults and limits"""
    return json_answer(as_public(parts().config))


def as_public(config: Config) -> PublicConfig:
    limits = Limits.model_validate({name: getattr(config.api, name) for name in Limits.model_fields})
    return PublicConfig(
        name=config.name,
        version=str(config.version),
        server_version=alaas.__version__,
        default_strategy=config.strategy,
        default_model=config.default_model,
        limits=limits,
    )
