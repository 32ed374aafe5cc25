"""What `alaas strategies` prints of a strategy."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from alaas.cli import main
from alaas.cli.zoo import kind_of
from alaas.client import Client
from alaas.jobs import StrategyCard

CARD = StrategyCard(
    name="Mine",
    summary="Those first that I like.",
    needs=["embeddings"],
    uses=["labelled_embeddings"],
    in_words="embeddings; embeddings of labelled samples if there are any",
    parameters={
        "properties": {
            "beta": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "how much"},
            "delta": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}], "default": None},
        }
    },
)


@pytest.fixture(autouse=True)
def one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "strategies", lambda self: [CARD])


def test_the_list_tells_needs_parameters_and_summary() -> None:
    output = CliRunner().invoke(main, ["strategies"]).output
    assert f"Mine  {CARD.in_words}  beta, delta  Those first that I like." in output


def test_one_strategy_is_told_with_its_types_bounds_and_defaults() -> None:
    assert CliRunner().invoke(main, ["strategies", "Mine"]).output.splitlines() == [
        "name         Mine",
        "summary      Those first that I like.",
        "needs        embeddings; embeddings of labelled samples if there are any",
        "beta         integer from 1 to 100, default 10",
        "             how much",
        "delta        number above 0 or null, default null",
    ]


def test_a_strategy_that_is_not_there_is_said() -> None:
    result = CliRunner().invoke(main, ["strategies", "Yours"])
    assert result.exit_code == 1 and "knows no strategy 'Yours'" in result.stderr


@pytest.mark.parametrize(
    ("schema", "words"),
    [({"enum": ["a", "b"], "type": "string"}, "a or b"), ({"type": "boolean"}, "boolean"), ({}, "any")],
)
def test_a_parameter_is_told_by_its_schema(schema: dict[str, Any], words: str) -> None:
    assert kind_of(schema) == words
