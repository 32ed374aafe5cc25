"""`alaas config check`, `alaas config show`, `alaas token`: what an operator does before serving."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import secrets
from types import ModuleType

import click
import yaml

from alaas.cli.options import as_json, print_json
from alaas.config import Config, load_config
from alaas.config.loading import dump_config
from alaas.config.sources import StoreConfig
from alaas.errors import ConfigError
from alaas.model_files import missing_files


@click.group()
def config() -> None:
    """Check and show configurations."""


@config.command()
@click.argument("file", type=click.Path(dir_okay=False))
def check(file: str) -> None:
    """Say whether FILE is a configuration, with its models' files here, and if not, what is wrong where."""
    effective = load_config(file)
    check_strategy(effective)
    missing = missing_files(effective)
    for field, what in missing[1:]:
        click.echo(f"alaas: {field}: {what}", err=True)
    if missing:
        raise ConfigError(missing[0][1], field=missing[0][0])
    for name in _closed_stores(effective):
        click.echo(f"alaas: sources.{name}.allow lists nothing, so that no {name} URI can be read", err=True)
    click.echo(f"{file} is right: {effective.strategy.get('type')} on {', '.join(effective.models)}")


@config.command()
@click.argument("file", type=click.Path(dir_okay=False), required=False)
@as_json
def show(file: str | None, as_json: bool) -> None:
    """Print every setting in effect: of the environment, else FILE, else the default. Secrets are hidden."""
    text = dump_config(load_config(file))
    if as_json:
        print_json(yaml.safe_load(text))
    else:
        click.echo(text, nl=False)


def _closed_stores(effective: Config) -> list[str]:
    """Stores that the file says something of, without what their users may read of them."""
    sections = {name: getattr(effective.sources, name) for name in type(effective.sources).model_fields}
    stores = {name: section for name, section in sections.items() if isinstance(section, StoreConfig)}
    return [name for name, store in stores.items() if store != type(store)() and store.enabled and not store.allow]


def check_strategy(effective: Config) -> None:
    """Raises ConfigError for a strategy that is not in the zoo, or not at its path of `strategies.paths`.

    A client without the zoo cannot know.
    """
    if any(importlib.util.find_spec(name) is None for name in ("strategies", "numpy", "scipy")):
        click.echo("the strategy's name is not checked: the server's packages are not installed here", err=True)
        return
    zoo = importlib.import_module("strategies")
    _register(zoo, effective)
    given = dict(effective.strategy)
    try:
        zoo.get_strategy(given.pop("type", ""), given)
    except zoo.StrategyError as error:
        field = f"strategy.{getattr(error, 'field', None) or 'type'}"
        raise ConfigError(getattr(error, "detail", str(error)), field=field) from None


def _register(zoo: ModuleType, effective: Config) -> None:
    """Import the operator's own strategies, as the fleet's processes will. Raises ConfigError naming the path."""
    try:
        zoo.register_paths(effective.strategies.paths)
    except zoo.StrategyError as error:
        raise ConfigError(error.detail, field=f"strategies.paths.{error.field}") from None


@click.command()
@click.argument("owner")
def token(owner: str) -> None:
    """Make a bearer token for OWNER, and the lines that let it in."""
    word = secrets.token_urlsafe(32)
    entry = {"owner": owner, "sha256": hashlib.sha256(word.encode()).hexdigest()}
    lines = yaml.safe_dump({"api": {"tokens": [entry]}}, sort_keys=False, allow_unicode=True)
    click.echo(f"The token, shown once (for --token, ALAAS_TOKEN or Client(token=...)):\n\n  {word}\n")
    click.echo(f"For the server's configuration, which holds only its hash:\n\n{lines}", nl=False)


COMMANDS = (config, token)
