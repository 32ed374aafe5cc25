"""`alaas push` and `alaas query`: the main job from a shell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TextIO, get_args

import click

from alaas.cli.options import (
    as_json,
    client_of,
    listing_options,
    model_option,
    policy_of,
    policy_options,
    print_chosen,
    print_json,
    server_options,
    shown,
)
from alaas.client import Client, Selected
from alaas.jobs import Job, JobState, Modality
from alaas.manifests import format_of

_FROM = click.option(
    "--from", "listing", type=click.File("r", encoding="utf-8"), help="A file with one URI or path a line; - is stdin."
)


@click.command()
@click.argument("uris", nargs=-1)
@_FROM
@click.option("--dataset", help="Name of the pool, to grow it; default: one for this very list.")
@click.option("--modality", type=click.Choice(get_args(Modality)), default="vision", show_default=True)
@listing_options
@model_option("The model to scan with; default: the server's first of the modality. More than once: a committee.")
@click.option("--no-wait", is_flag=True, help="Return at once; the work goes on.")
@as_json
@server_options
def push(
    uris: tuple[str, ...],
    listing: TextIO | None,
    dataset: str | None,
    modality: str,
    model: str | list[str] | None,
    no_wait: bool,
    as_json: bool,
    url: str,
    token: str | None,
    **columns: Any,
) -> None:
    """Push URIS and scan them: URIs, files and folders, or one manifest (CSV, JSON lines, Parquet), or one prefix
    (a URI that ends in /), which the server lists.
    """
    with client_of(url, token) as client:
        what = pushed(uris, listing, columns)
        job = client.push_data(what, no_wait, dataset=dataset, model=model, modality=modality, are_uris=True, **columns)
        pool = client.dataset(job.dataset_id)
        left_out = client.report(job.id).failed if job.progress.failed and job.state is JobState.SUCCEEDED else []
    if as_json:
        print_json({"dataset": pool, "job": job})
    else:
        click.echo(f"dataset {pool.name} ({pool.samples} samples, {pool.labelled} labelled)")
        click.echo(f"{job.kind:<7} {job.id} {job.state}")
        show_failed(job, Counter(sample.code for sample in left_out))


@click.command()
@click.argument("uris", nargs=-1)
@_FROM
@click.option("-b", "--budget", type=int, required=True, help="How many samples to choose.")
@click.option("--dataset", help="A pushed pool, by name or id, instead of URIS.")
@click.option("--strategy", help="Default: the server's.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy.")
@policy_options
@model_option("Default: the server's first. More than once: a committee.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--timeout", "timeout_s", type=float, help="Seconds to wait; the job goes on after it.")
@click.option("--plain", is_flag=True, help="Print nothing but the chosen URIs, one a line.")
@as_json
@server_options
def query(
    uris: tuple[str, ...],
    listing: TextIO | None,
    budget: int,
    dataset: str | None,
    strategy: str | None,
    params: tuple[str, ...],
    plain: bool,
    as_json: bool,
    url: str,
    token: str | None,
    **options: Any,
) -> None:
    """Choose the samples worth labelling first, of URIS or of a pushed pool."""
    if bool(dataset) == bool(uris or listing):
        raise click.UsageError("give either URIS (or --from) or --dataset")
    with client_of(url, token) as client:
        options["strategy"] = named_strategy(client, strategy, params)
        options["policy"] = policy_of(options)
        if dataset:
            selected = client.query(budget, dataset=dataset, **options)
        else:
            selected = client.query_by_uri(pushed(uris, listing, {}), budget, **options)
    _show(selected, plain=plain, as_json=as_json)


def named_strategy(client: Client, strategy: str | None, params: Iterable[str]) -> str | dict[str, Any] | None:
    """The strategy with its parameters; values are read as JSON, else as text."""
    values = dict(parameter(text) for text in params)
    if not values:
        return strategy
    return {"type": strategy or client.config()["default_strategy"]["type"], **values}


def parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE; the value is read as JSON, else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--param {text!r}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def pushed(uris: Sequence[str], listing: TextIO | None, columns: dict[str, Any]) -> str | Iterator[str]:
    """One manifest or prefix as a text, which `push_data` reads as such; anything else as a list."""
    are_listings = [uri for uri in uris if is_listing(uri)]
    if len(uris) == 1 and listing is None and (are_listings or any(columns.values())):
        return uris[0]
    if are_listings:
        raise click.UsageError(f"push one prefix or manifest at a time ({are_listings[0]})")
    return chain(uris, filter(None, (line.strip() for line in listing or ())))


def is_listing(uri: str) -> bool:
    return ("://" in uri and uri.endswith("/")) or format_of(uri) is not None


def _show(selected: Selected, *, plain: bool, as_json: bool) -> None:
    if as_json:
        print_json(_as_given(selected))
    elif plain:
        for uri in selected:
            click.echo(uri)
    else:
        print_chosen(selected.report.selected, [shown(uri) for uri in selected])
    show_failed(selected.job, Counter(failed.code for failed in selected.failed))
    for warning in selected.report.warnings:
        click.echo(f"warning: {warning}", err=True)


def _as_given(selected: Selected) -> dict[str, Any]:
    """The report as JSON, with the user's own names of the samples."""
    report = selected.report.model_dump(mode="json")
    for chosen, uri in zip(report["selected"], selected, strict=True):
        chosen["uri"] = uri
    report["failed"] = [failed.model_dump(mode="json") for failed in selected.failed]
    return {"job": selected.job.id, **report}


def show_failed(job: Job, codes: Counter[str]) -> None:
    if codes:
        words = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        click.echo(f"left out: {words} (alaas jobs report {job.id} --failed lists them)", err=True)


COMMANDS = (push, query)
