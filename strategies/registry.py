"""Strategies by name: built in, registered by this process, or installed beside us (entry points `alaas.strategies`).

A name never makes anything be imported that the operator did not install or name: a request may carry any text.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import ValidationError

from strategies.base import Strategy
from strategies.errors import StrategyError
from strategies.plain import as_json

logger = logging.getLogger(__name__)
AnyStrategy = TypeVar("AnyStrategy", bound=type[Strategy])

ENTRY_POINT_GROUP = "alaas.strategies"
_BUILT_IN = {
    "Badge": "strategies.badge:Badge",
    "BatchBALD": "strategies.batch_bald:BatchBALD",
    "BayesianDisagreement": "strategies.disagreement:BayesianDisagreement",
    "ClusterMargin": "strategies.cluster_margin:ClusterMargin",
    "CoreSet": "strategies.core_set:CoreSet",
    "DeepFool": "strategies.deep_fool:DeepFool",
    "DetectionUncertainty": "strategies.independent:DetectionUncertainty",
    "DiverseMiniBatch": "strategies.diverse_mini_batch:DiverseMiniBatch",
    "EntropySampling": "strategies.uncertainty:EntropySampling",
    "ExpectedErrorReduction": "strategies.expected_error:ExpectedErrorReduction",
    "InformationDensity": "strategies.information_density:InformationDensity",
    "KCenterSampling": "strategies.k_center:KCenterSampling",
    "KMeansSampling": "strategies.k_means:KMeansSampling",
    "LeastConfidence": "strategies.uncertainty:LeastConfidence",
    "MarginConfidence": "strategies.uncertainty:MarginConfidence",
    "MultiLabelUncertainty": "strategies.independent:MultiLabelUncertainty",
    "ProbCover": "strategies.prob_cover:ProbCover",
    "QUIRE": "strategies.quire:QUIRE",
    "QueryByCommittee": "strategies.disagreement:QueryByCommittee",
    "RandomSampling": "strategies.random_sampling:RandomSampling",
    "RatioConfidence": "strategies.uncertainty:RatioConfidence",
    "TypiClust": "strategies.typi_clust:TypiClust",
}
_registered: dict[str, type[Strategy]] = {}


def strategy_names() -> list[str]:
    """All that can be used, sorted; an installed one that cannot be loaded is logged and left out."""
    return sorted(name for name in _known_names() if _is_usable(name))


def strategy_type(name: str) -> type[Strategy]:
    """The class behind `name`, imported at first use. Raises StrategyError naming the nearest known name."""
    if not isinstance(name, str):
        raise StrategyError(f"the strategy's name must be text, not {name!r:.80}", field="type")
    if name in _BUILT_IN:
        return load_strategy(_BUILT_IN[name])
    if name in _registered:
        return _registered[name]
    if name in _entry_points():
        return load_strategy(_entry_points()[name].value)
    raise StrategyError(f"unknown strategy {name!r:.80}; {_nearest(name, _known_names())}", field="type")


def get_strategy(name: str, parameters: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy called `name` with its `parameters`, plain data as from YAML or JSON.

    Raises StrategyError; its `field` is "type" for an unknown name, else the parameter.
    """
    strategy = strategy_type(name)
    text = as_json(parameters or {}, "parameters")
    try:
        return strategy.model_validate_json(text)
    except ValidationError as error:
        raise _as_strategy_error(error, name, strategy) from None


def register(strategy: AnyStrategy) -> AnyStrategy:
    """Make a class known in this process by its own name; also a decorator. Raises StrategyError if that is taken."""
    checked_strategy(strategy)
    name = strategy.__name__
    if name in _BUILT_IN or _registered.get(name, strategy) is not strategy:
        raise StrategyError(f"there is a strategy called {name} already", field="type")
    _registered[name] = strategy
    return strategy


def register_path(path: str) -> type[Strategy]:
    """Import and register `package.module:Class` (or with a dot). For the operator, never a request: it runs code."""
    return register(load_strategy(path))


def register_paths(paths: Iterable[str]) -> None:
    """`register_path` for each, as at the start of a process. The error's `field` is the number of the path."""
    for number, path in enumerate(paths):
        try:
            register_path(path)
        except StrategyError as error:
            reason = f" ({error.__cause__})" if error.__cause__ else ""
            raise StrategyError(f"{path}: {error.detail}{reason}", field=str(number)) from None


def load_strategy(path: str) -> type[Strategy]:
    """The class at `package.module:Class`. Raises StrategyError saying what is wrong with it."""
    module, _, attribute = path.rpartition(":" if ":" in path else ".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module that is not ours may raise anything while it is imported
        logger.warning("strategy %s cannot be loaded", path, exc_info=True)
        raise StrategyError(f"strategy {path!r} cannot be loaded: {type(error).__name__}", field="type") from error
    return checked_strategy(found)


def checked_strategy(found: Any) -> type[Strategy]:
    """`found` if it is a strategy that can be listed and made without parameters; raises StrategyError if not."""
    if not (isinstance(found, type) and issubclass(found, Strategy)) or inspect.isabstract(found):
        raise StrategyError(
            f"{found!r:.80} is not a subclass of Strategy that writes `choose` or `scores`", field="type"
        )
    if not found.summary or "\n" in found.summary:
        raise StrategyError(f"{found.__name__} needs a `summary` of one line", field="type")
    wrong = [name for name, field in found.model_fields.items() if field.is_required() or name == "type"]
    if wrong:
        raise StrategyError(
            f"{found.__name__}.{wrong[0]} needs a default, and another name than `type`", field=wrong[0]
        )
    return found


@cache
def _entry_points() -> dict[str, EntryPoint]:
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    for name in found.keys() & _BUILT_IN.keys():
        logger.warning("the installed strategy %s (%s) is hidden by the built-in one", name, found[name].value)
    return found


def _known_names() -> set[str]:
    return {*_BUILT_IN, *_registered, *_entry_points()}


def _is_usable(name: str) -> bool:
    try:
        strategy_type(name)
    except StrategyError as error:
        logger.warning("strategy %s is left out: %s", name, error.detail)
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if not names:
        return "it takes no parameters"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"nearest known: {near[0]!r}" if near else f"known: {', '.join(names)}"


def _as_strategy_error(error: ValidationError, name: str, strategy: type[Strategy]) -> StrategyError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return StrategyError(
            f"unknown parameter {path!r:.80} of {name}; {_nearest(path, strategy.model_fields)}", field=path
        )
    return StrategyError(
        f"{name}: {path or 'parameters'}: {first['msg']} (got {first['input']!r:.80})", field=path or None
    )
