"""Options that several commands share, and how results are printed: for people in columns, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from alaas.calls import DEFAULT_SERVER
from alaas.client import Client
from alaas.jobs import Chosen, Policy
from alaas.texts import text_of

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """`--server` and `--token`, which make the command's first argument, a client."""
    for option in (
        click.option("--token", envvar="ALAAS_TOKEN", help="Bearer token  [env: ALAAS_TOKEN]"),
        click.option(
            "--server",
            "url",
            envvar="ALAAS_SERVER",
            default=DEFAULT_SERVER,
            show_default=True,
            help="The server's address  [env: ALAAS_SERVER]",
        ),
    ):
        command = option(command)
    return command


def model_option(help_text: str) -> Callable[[Command], Command]:
    """`--model`, which gives a name, a list where it stands more than once, or None."""

    def named(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> str | list[str] | None:
        return list(given) if len(given) > 1 else next(iter(given), None)

    return click.option("--model", multiple=True, metavar="NAME", callback=named, help=help_text)


def listing_options(command: Command) -> Command:
    """What of a manifest counts."""
    for option in (
        click.option(
            "--format", type=click.Choice(["csv", "jsonl", "parquet"]), help="Of a manifest; told by its name."
        ),
        click.option("--label-column", metavar="NAME", help="A manifest's column of labels."),
        click.option("--text-column", metavar="NAME", help="A manifest's column of texts, the samples themselves."),
        click.option("--column", metavar="NAME", help="A manifest's column of URIs; default: uri."),
    ):
        command = option(command)
    return command


def policy_options(command: Command) -> Command:
    """A rule for the batch each; `policy_of` takes them out of what the command got."""
    exclude = click.File("r", encoding="utf-8")
    for option in (
        click.option("--exclude", type=exclude, help="A file with ids, URIs or paths never to choose."),
        click.option(
            "--random-share", type=float, help="Share of the budget drawn at random, for unbiased evaluation."
        ),
        click.option("--max-per-source", type=int, help="Most samples of one source (host and folder, or the file's)."),
        click.option("--max-per-class", type=int, help="Most samples of one predicted class."),
        click.option("--min-distance", type=float, help="Choose nothing nearer to what is chosen or labelled."),
    ):
        command = option(command)
    return command


def policy_of(options: dict[str, Any]) -> dict[str, Any] | None:
    """Takes the rules out of `options`; None where none is given, which means the server's."""
    given = {name: options.pop(name) for name in Policy.model_fields}
    if given["exclude"] is not None:
        given["exclude"] = [line.strip() for line in given["exclude"] if line.strip()]
    return {name: value for name, value in given.items() if value is not None} or None


def client_of(url: str, token: str | None) -> Client:
    return Client(url, token=token)


config_option = click.option(
    "--config", type=click.Path(dir_okay=False), help="The YAML file  [env: ALAAS_CONFIG]; without one, the defaults."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    def plain(item: Any) -> Any:
        return item.model_dump(mode="json") if isinstance(item, BaseModel) else str(item)

    click.echo(json.dumps(value, default=plain, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as their widest cell; the last one as it comes."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    for row in [[name.upper() for name in head], *cells]:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*padded, row[-1]]))


def shown(uri: str) -> str:
    """For people: a text as it is, on one line, instead of the URI in which it stands."""
    text = text_of(uri)
    return uri if text is None else " ".join(text.split())


def print_chosen(chosen: Sequence[Chosen], uris: Sequence[str]) -> None:
    """By rank, with what is known beside the score: how it was drawn, its nearest neighbour, how many it stands for."""
    columns: dict[str, list[Any]] = {
        "rank": [one.rank for one in chosen],
        "score": [f"{one.score:.6g}" for one in chosen],
    }
    if any(one.drawn != "strategy" for one in chosen):
        columns["drawn"] = [one.drawn for one in chosen]
    if any(one.stands_for is not None for one in chosen):
        columns["nearest"] = [
            f"{one.nearest.distance:.6g} {one.nearest.kind}" if one.nearest else "-" for one in chosen
        ]
        columns["stands for"] = [one.stands_for for one in chosen]
    columns["uri"] = list(uris)
    print_table(list(columns), zip(*columns.values(), strict=True))
