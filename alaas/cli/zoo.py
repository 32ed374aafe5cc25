"""`alaas strategies`: what the server can choose by, what each strategy needs, and its typed parameters."""

from __future__ import annotations

import json
from typing import Any

import click

from alaas.cli.options import as_json, client_of, print_json, print_table, server_options
from alaas.errors import NotFound
from alaas.jobs import StrategyCard

_BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


@click.command()
@click.argument("name", required=False)
@as_json
@server_options
def strategies(name: str | None, as_json: bool, url: str, token: str | None) -> None:
    """The strategies that the server knows; with NAME, all about that one."""
    with client_of(url, token) as client:
        found = [card for card in client.strategies() if name in (None, card.name)]
    if name is not None and not found:
        raise NotFound(f"the server knows no strategy {name!r:.80}; `alaas strategies` lists those it knows")
    if as_json:
        print_json(found)
    elif name is not None:
        _show(found[0])
    else:
        rows = [(s.name, _needs(s), ", ".join(_properties(s)) or "-", s.summary) for s in found]
        print_table(["name", "needs", "parameters", "summary"], rows)


def _show(card: StrategyCard) -> None:
    for head, text in (("name", card.name), ("summary", card.summary), ("needs", _needs(card))):
        click.echo(f"{head:<12} {text}")
    for name, schema in _properties(card).items():
        click.echo(f"{name:<12} {kind_of(schema)}, default {json.dumps(schema.get('default'))}")
        if schema.get("description"):
            click.echo(f"{'':<12} {schema['description']}")


def _needs(card: StrategyCard) -> str:
    return card.in_words or ", ".join(card.needs) or "-"


def _properties(card: StrategyCard) -> dict[str, Any]:
    return dict(card.parameters.get("properties", {}))


def kind_of(schema: dict[str, Any]) -> str:
    """A parameter's type and bounds, from its JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(kind_of(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    bounds = [words.format(schema[bound]) for bound, words in _BOUNDS.items() if bound in schema]
    return " ".join([str(schema.get("type", "any")), *bounds])


COMMANDS = (strategies,)
