"""Strategies by name, with typed parameters, from here, from the operator and from installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

from strategies import (
    Pool,
    Selection,
    Strategy,
    StrategyError,
    get_policy,
    get_strategy,
    register,
    register_path,
    registry,
    strategy_names,
    strategy_type,
)


class Mode(StrEnum):
    FAST = "fast"
    EXACT = "exact"


class Typed(Strategy):
    summary: ClassVar[str] = "for these tests"
    beta: Annotated[int, Field(gt=0)] = 10
    share: float = 0.5
    mode: Mode = Mode.FAST
    metric: Literal["cosine", "euclidean"] = "euclidean"
    pair: tuple[int, int] = (1, 2)

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        return Selection(np.arange(budget), np.zeros(budget))


@pytest.fixture(autouse=True)
def a_registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", {})
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.fixture
def typed() -> None:
    register(Typed)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: str, source: str = "") -> None:
    """Put a package with `alaas.strategies` entry points where Python finds installed ones."""
    info = folder / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[alaas.strategies]\n{entries}\n")
    (folder / "plugged_strategies.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "plugged_strategies", raising=False)


PLUGGED = """
import numpy as np
from strategies import ScoringStrategy

class Plugged(ScoringStrategy):
    summary = "from another package"

    def scores(self, pool):
        return np.zeros(len(pool))
"""


def test_the_first_release_has_these() -> None:
    assert {
        "EntropySampling",
        "KCenterSampling",
        "LeastConfidence",
        "MarginConfidence",
        "RandomSampling",
        "RatioConfidence",
    } <= set(strategy_names())


@pytest.mark.parametrize("name", strategy_names())
def test_a_name_in_the_list_is_the_name_of_the_class(name: str) -> None:
    assert strategy_type(name).__name__ == name
    assert type(get_strategy(name)) is strategy_type(name)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(StrategyError, match="'LeastConfidense'; nearest known: 'LeastConfidence'") as caught:
        get_strategy("LeastConfidense")
    assert caught.value.field == "type"


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(StrategyError, match="known: Badge, BatchBALD, "):
        get_strategy("xyz")


@pytest.mark.parametrize("name", ["this", "antigravity:open", "examples.my_strategy:RareClassFirst", "__class__", ""])
def test_a_name_never_imports_what_it_says(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(StrategyError, match="unknown strategy"):
        get_strategy(name)
    assert not {"this", "antigravity"} & (set(sys.modules) - before)


@pytest.mark.usefixtures("typed")
def test_parameters_are_read_as_plain_data() -> None:
    strategy = get_strategy("Typed", {"beta": 3, "share": 1, "mode": "exact", "metric": "cosine", "pair": [3, 4]})
    assert strategy == Typed(beta=3, share=1.0, mode=Mode.EXACT, metric="cosine", pair=(3, 4))


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(
    ("parameters", "field", "complaint"),
    [
        ({"beta": 0}, "beta", "greater than 0"),
        ({"beta": "3"}, "beta", "integer"),
        ({"beta": 2.5}, "beta", "integer"),
        ({"beta": True}, "beta", "integer"),
        ({"beta": None}, "beta", "integer"),
        ({"mode": "slow"}, "mode", "'fast' or 'exact'"),
        ({"pair": [1, "x"]}, "pair.1", "integer"),
        ({"bet": 1}, "bet", "unknown parameter 'bet' of Typed; nearest known: 'beta'"),
        ({"share": float("nan")}, "share", "plain data"),
        ({"share": object()}, "share", "plain data"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], field: str, complaint: str) -> None:
    with pytest.raises(StrategyError, match=complaint) as caught:
        get_strategy("Typed", parameters)
    assert caught.value.field == field


def test_a_parameter_where_there_are_none_is_refused() -> None:
    with pytest.raises(StrategyError, match="it takes no parameters"):
        get_strategy("LeastConfidence", {"beta": 1})


def test_a_registered_class_is_listed_and_registering_it_again_is_fine() -> None:
    assert register(Typed) is Typed
    register(Typed)
    assert "Typed" in strategy_names()
    assert strategy_type("Typed") is Typed


def test_a_name_that_is_taken_is_refused() -> None:
    register(Typed)
    with pytest.raises(StrategyError, match="called Typed already"):
        register(type("Typed", (Typed,), {"__module__": __name__}))
    with pytest.raises(StrategyError, match="called LeastConfidence already"):
        register(type("LeastConfidence", (Typed,), {"__module__": __name__}))


class Silent(Typed):
    summary: ClassVar[str] = ""


class NoDefault(Typed):
    alpha: int


class NamedType(Typed):
    type: str = "x"


class Unwritten(Strategy):
    summary: ClassVar[str] = "abstract"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (Silent, "summary"),
        (NoDefault, "NoDefault.alpha needs a default"),
        (NamedType, "NamedType.type needs"),
        (Unwritten, "not a subclass"),
        (Strategy, "not a subclass"),
        (int, "not a subclass"),
        (Typed(), "not a subclass"),
    ],
)
def test_what_cannot_be_listed_is_not_registered(wrong: Any, complaint: str) -> None:
    with pytest.raises(StrategyError, match=complaint):
        register(wrong)


@pytest.mark.parametrize("path", ["examples.my_strategy:RareClassFirst", "examples.my_strategy.RareClassFirst"])
def test_the_operator_registers_a_class_by_its_path(path: str) -> None:
    assert register_path(path).__name__ == "RareClassFirst"
    assert get_strategy("RareClassFirst", {"power": 2}).model_dump() == {"power": 2.0}


@pytest.mark.parametrize("path", ["no_such_module:X", "examples.my_strategy:Missing", "json:loads", "nothing", "", ":"])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(StrategyError):
        register_path(path)


def test_an_installed_package_brings_its_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "Plugged = plugged_strategies:Plugged", PLUGGED)
    assert "Plugged" in strategy_names()
    assert len(get_strategy("Plugged").select(Pool(["a", "b"], {}), 1)) == 1


def test_a_broken_package_is_left_out_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, "Plugged = plugged_strategies:Plugged", "import no_such_module_at_all")
    assert "Plugged" not in strategy_names()
    assert "strategy Plugged is left out" in caplog.text
    with pytest.raises(StrategyError, match="cannot be loaded: ModuleNotFoundError"):
        get_strategy("Plugged")


def test_an_installed_package_cannot_replace_a_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, "LeastConfidence = plugged_strategies:Plugged", PLUGGED)
    assert "LeastConfidence" in strategy_names()
    assert strategy_type("LeastConfidence").__module__ == "strategies.uncertainty"
    assert "hidden by the built-in one" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_a_value_that_is_no_plain_data_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(StrategyError) as caught:
        get_strategy("DiverseMiniBatch", {"beta": value})
    assert caught.value.field == "beta"
    with pytest.raises(StrategyError) as caught:
        get_policy({"min_distance": value})
    assert caught.value.field == "min_distance"
