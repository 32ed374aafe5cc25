"""Strategies of the operator's own: named by path in the configuration, imported at the start, never by a request."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from alaas.cli import main
from alaas.config import load_config, parse_config
from alaas.errors import ConfigError
from alaas_workers.own_strategies import register_own
from alaas_workers.stages.selection import load_zoo
from strategies import StrategyError, get_strategy, registry, strategy_names

PATH = "examples.my_strategy:RareClassFirst"


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def test_the_strategies_of_the_configuration_are_known_after_the_start() -> None:
    with pytest.raises(StrategyError):
        get_strategy("RareClassFirst")
    config = parse_config({"strategies": {"paths": [PATH]}})
    register_own(config)
    register_own(config)  # a fork starts with what its parent knows
    assert get_strategy("RareClassFirst", {"power": 2}).needs == {"probabilities"}
    assert "RareClassFirst" in strategy_names()


def test_selection_workers_know_them_before_they_fork() -> None:
    load_zoo(parse_config({"strategies": {"paths": [PATH]}}))
    assert "RareClassFirst" in strategy_names()


def test_a_path_may_come_from_the_environment() -> None:
    config = load_config(environ={"ALAAS_STRATEGIES__PATHS": f"['{PATH}']"})
    assert config.strategies.paths == [PATH]


@pytest.mark.parametrize("path", ["RareClassFirst", "a/b.py:C", "a:b:c", "", "a b:C", "../a:B"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"strategies": {"paths": [PATH, path]}})
    assert caught.value.field == "strategies.paths.1"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.at_all:Mine", "nowhere.at_all:Mine"),
        ("examples.my_strategy:Absent", "has no attribute"),
        ("examples.my_strategy:np", "not a subclass of Strategy"),
        ("broken_strategy:Mine", "division by zero"),
        ("clash:EntropySampling", "there is a strategy called EntropySampling already"),
    ],
)
def test_a_path_that_leads_to_no_strategy_is_named(
    path: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_strategy.py").write_text("1 / 0\n")
    (tmp_path / "clash.py").write_text(
        textwrap.dedent("""
            import numpy as np
            from strategies import ScoringStrategy
            class EntropySampling(ScoringStrategy):
                summary = "another of that name"
                def scores(self, pool):
                    return np.zeros(len(pool))
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=words) as caught:
        register_own(parse_config({"strategies": {"paths": [PATH, path]}}))
    assert caught.value.field == "strategies.paths.1" and path in caught.value.detail


def test_config_check_imports_them(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"strategies: {{paths: ['{PATH}']}}\nstrategy: {{type: RareClassFirst, power: 2}}")
    result = CliRunner().invoke(main, ["config", "check", str(tmp_path / "a.yml")])
    assert "is right: RareClassFirst" in result.output


def test_config_check_names_the_path_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("strategies: {paths: ['nowhere.at_all:Mine']}")
    result = CliRunner().invoke(main, ["config", "check", str(tmp_path / "a.yml")])
    assert result.exit_code == 2
    assert "strategies.paths.0: nowhere.at_all:Mine" in result.stderr
