"""`alaas models`: what the server serves, what a configuration names, whether a model loads, and one more of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from alaas.cli.groups import ListByDefault
from alaas.cli.options import as_json, client_of, config_option, print_json, print_table, server_options
from alaas.config import Config, load_config
from alaas.config.adding import with_model
from alaas.config.loading import CONFIG_PATH_ENV, parse_yaml, read_text
from alaas.errors import AlaasError, ConfigError
from alaas.jobs import ModelCard
from alaas.model_files import missing_files

_SHOWN_DIGITS = 12


@click.group(cls=ListByDefault)
def models() -> None:
    """List, check and add models; without a command, list."""


@models.command("list")
@click.option("--config", type=click.Path(dir_okay=False), help="List this file's models, without a server.")
@as_json
@server_options
def list_models(config: str | None, as_json: bool, url: str, token: str | None) -> None:
    """The models that the server serves; the first is the default."""
    if config is not None:
        _list_configured(load_config(config), as_json)
        return
    with client_of(url, token) as client:
        found = client.models()
    if as_json:
        print_json(found)
    else:
        head = ["name", "modality", "classes", "input", "device", "fingerprint", "outputs", "state"]
        print_table(head, [_row(card) for card in found])


def _row(card: ModelCard) -> list[Any]:
    outputs = ", ".join(card.outputs or []) or "-"
    fingerprint = (card.fingerprint or "-")[:_SHOWN_DIGITS]
    known = [card.classes or "-", _size(card), card.device or "-", fingerprint, outputs]
    return [card.name, card.modality, *known, _state(card)]


def _size(card: ModelCard) -> str:
    return " x ".join(map(str, card.input_size)) if card.input_size else "-"


def _state(card: ModelCard) -> str:
    return card.error or ("ok" if card.fingerprint else "not loaded yet")


def _list_configured(config: Config, as_json: bool) -> None:
    missing = dict(missing_files(config))
    rows = []
    for name, model in config.models.items():
        lacks = [f"{key}: {what}" for key, what in missing.items() if key.startswith(f"models.{name}.")]
        where = str(model.path or model.repo or model.weights or "-")
        rows.append([name, model.source, model.modality, where, "; ".join(lacks) or "not tried (alaas models check)"])
    head = ["name", "source", "modality", "from", "state"]
    if as_json:
        print_json([dict(zip(head, row, strict=True)) for row in rows])
    else:
        print_table(head, rows)


@models.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every model of the configuration.")
@config_option
@as_json
def check_models(names: tuple[str, ...], every: bool, config: str | None, as_json: bool) -> None:
    """Load each model here as an inference worker would, and say what came of it. Exit status 1: one does not load."""
    configured = load_config(config)
    unknown = [name for name in names if name not in configured.models]
    if bool(names) == every or unknown:
        what = f"no model {unknown[0]!r:.80}" if unknown else "name models or give --all"
        raise ConfigError(f"{what}; configured: {', '.join(configured.models)}")
    found = [_checked(name, config) for name in (configured.models if every else names)]
    if as_json:
        print_json([card for card, _ in found])
    elif len(found) == 1:
        _show(*found[0])
    else:
        print_table(["name", "seconds", "state"], [(card.name, said, _state(card)) for card, said in found])
    if any(card.error for card, _ in found):
        raise click.exceptions.Exit(1)


def _checked(name: str, config: str | None) -> tuple[ModelCard, str]:
    """The model's card, and how long it took to load. What is wrong stands in the card, with the setting to mend."""
    from alaas.model_process import ask

    try:
        answer = ask("alaas_workers.checking", [name], Path(config) if config else None)
    except AlaasError as error:
        detail = f"{error.field}: {error.detail}" if error.field else error.detail
        return ModelCard(name=name, modality="", error=detail), "-"
    return ModelCard.model_validate_json(json.dumps(answer["card"])), f"{answer['seconds']:.1f}"


def _show(card: ModelCard, seconds: str) -> None:
    if card.error:
        click.echo(f"alaas: {card.error}", err=True)
        return
    click.echo(f"{'name':<16} {card.name}, loaded in {seconds} s on {card.device}")
    for key in ("modality", "classes", "boxes", "embedding_size", "transform", "fingerprint"):
        if getattr(card, key) is not None:
            click.echo(f"{key:<16} {getattr(card, key)}")
    click.echo(f"{'input_size':<16} {_size(card)}")
    click.echo(f"{'outputs':<16} {', '.join(card.outputs or [])}")
    for feature, why in card.lacking.items():
        click.echo(f"{'no ' + feature:<24} {why}")


@models.command("add")
@click.argument("name")
@click.option("--source", required=True, help="torchvision, torch_hub, file, huggingface, timm, onnx, triton or null.")
@click.argument("settings", metavar="[KEY=VALUE]...", nargs=-1)
@config_option
@click.option("--dry-run", is_flag=True, help="Print the file as it would be, and write nothing.")
def add_model(name: str, source: str, settings: tuple[str, ...], config: str | None, dry_run: bool) -> None:
    """Write the model NAME into the YAML file. A dotted KEY is a setting within one: transform.crop=32.

    Comments and order of the file stay. Running servers take it up when they are started again.
    """
    path = _file(config)
    before = read_text(path) if path.exists() else ""
    text, checked = with_model(before, name, {"source": source} | _settings(settings))
    lacks = [(key, what) for key, what in missing_files(checked) if key.startswith(f"models.{name}.")]
    if lacks:
        raise ConfigError(lacks[0][1], field=lacks[0][0])
    if dry_run:
        click.echo(text, nl=False)
        return
    _replace(path, text)
    click.echo(f"{path} has the model {name!r} now; `alaas models check {name} --config {path}` loads it")


def _file(config: str | None) -> Path:
    named = config or os.environ.get(CONFIG_PATH_ENV)
    if not named:
        raise ConfigError("name the file to write into: --config FILE")
    return Path(named)


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE, the value as YAML. Raises ConfigError."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{word!r:.80} is not KEY=VALUE")
        *sections, last = key.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key!r:.80} lies in a setting that has a value already")
        if last in inner:
            raise ConfigError(f"{key!r:.80} is given twice")
        inner[last] = parse_yaml(text, key)
    return found


def _replace(path: Path, text: str) -> None:
    """In one step, so that no one reads half of it."""
    target = path.resolve()  # a link stays one
    try:
        with tempfile.NamedTemporaryFile("w", dir=target.parent, encoding="utf-8", newline="", delete=False) as made:
            made.write(text)
        os.chmod(made.name, target.stat().st_mode & 0o777 if target.exists() else 0o644)
        os.replace(made.name, target)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


COMMANDS = (models,)
