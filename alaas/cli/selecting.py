"""`alaas select`: choose from a file of one's own scores, here or on a server."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from alaas.cli.options import client_of, policy_of, policy_options, print_json, print_table
from alaas.cli.querying import parameter
from alaas.errors import InvalidRequest
from alaas.local_selection import select_here
from alaas.select_form import opened_pool, select_request
from alaas.selections import Pick, SelectAnswer

FORMATS = (".csv", ".json")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("-b", "--budget", type=int, required=True, help="How many samples to choose.")
@click.option("--strategy", help="Required without a server; else default: the server's.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy.")
@policy_options
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file, .csv or .json.")
@click.option("--plain", is_flag=True, help="Print nothing but the chosen ids, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--timeout", "timeout_s", type=float, help="Seconds; default: none here, 600 with a server.")
@click.option("--server", "--url", "url", help="Send FILE to this server. Without it nothing leaves this machine.")
@click.option("--token", envvar="ALAAS_TOKEN", help="Bearer token of that server  [env: ALAAS_TOKEN]")
def select(
    file: str,
    strategy: str | None,
    params: tuple[str, ...],
    output: str | None,
    plain: bool,
    as_json: bool,
    timeout_s: float | None,
    url: str | None,
    token: str | None,
    **asked: Any,
) -> None:
    """Choose from the probabilities or embeddings in FILE (NPZ or Parquet), without jobs and models."""
    if output and Path(output).suffix.lower() not in FORMATS:
        raise click.UsageError(f"--output {output}: write to a file whose name ends with .csv or .json")
    asked["strategy"] = _strategy(strategy, params, is_local=url is None)
    asked["policy"] = policy_of(asked)
    if url is None:
        with opened_pool(file, None, {}) as pool:
            answer = select_here(pool, select_request(**asked), timeout_s)
    else:
        with client_of(url, token) as client:
            answer = client.select(file, timeout_s=600.0 if timeout_s is None else timeout_s, **asked)
    _show(answer, output, plain=plain, as_json=as_json)


def _strategy(name: str | None, params: Iterable[str], *, is_local: bool) -> str | dict[str, Any] | None:
    values = dict(parameter(text) for text in params)
    if name is None and (is_local or values):
        raise click.UsageError("name a --strategy (docs/strategies.md lists them)")
    return {"type": name, **values} if values else name


def _show(answer: SelectAnswer, output: str | None, *, plain: bool, as_json: bool) -> None:
    if output:
        _write(answer, Path(output))
        click.echo(f"{len(answer.selected)} of {answer.pool} samples, written to {output}", err=True)
    elif as_json:
        print_json(answer)
    elif plain:
        for name in answer.ids:
            click.echo(name)
    else:
        print_table(["rank", "score", "id"], [(pick.rank, f"{pick.score:.6g}", pick.id) for pick in answer.selected])
    for warning in answer.warnings:
        click.echo(f"warning: {warning}", err=True)


def _write(answer: SelectAnswer, path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".json":
                file.write(answer.model_dump_json(indent=2) + "\n")
            else:
                _write_csv(answer, file)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}", field="output") from None


def _write_csv(answer: SelectAnswer, file: TextIO) -> None:
    names = list(dict.fromkeys(name for pick in answer.selected for name in pick.parts or {}))
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        ["rank", "id", "score", "drawn", *names, "nearest_kind", "nearest_id", "nearest_distance", "stands_for"]
    )
    table.writerows(_cells(pick, names) for pick in answer.selected)


def _cells(pick: Pick, names: Iterable[str]) -> Iterator[Any]:
    yield from (pick.rank, pick.id, pick.score, pick.drawn)
    yield from ((pick.parts or {}).get(name) for name in names)
    yield from (pick.nearest.kind, pick.nearest.id, pick.nearest.distance) if pick.nearest else (None,) * 3
    yield pick.stands_for


COMMANDS = (select,)
