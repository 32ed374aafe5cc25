"""`alaas push` and `alaas query`: the main job from a shell."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import click

from alaas.cli.options import (
    as_json,
    client_of,
    model_option,
    policy_of,
    policy_options,
    print_chosen,
    print_json,
    server_options,
)
from alaas.client import Client, Selected
from alaas.errors import InvalidRequest
from alaas.jobs import Job, JobState

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}  # what the preprocess stage decodes
_FROM = click.option(
    "--from", "listing", type=click.File("r", encoding="utf-8"), help="A file with one URI or path a line; - is stdin."
)


@click.command()
@click.argument("uris", nargs=-1)
@_FROM
@click.option("--dataset", help="Name of the pool, to grow it; default: one for this very list.")
@model_option("The model to scan with; default: the server's first. More than once: a committee.")
@click.option("--no-wait", is_flag=True, help="Return at once; the scan goes on.")
@as_json
@server_options
def push(
    uris: tuple[str, ...],
    listing: TextIO | None,
    dataset: str | None,
    model: str | list[str] | None,
    no_wait: bool,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Push URIS (URIs, files, or folders of images) and scan them."""
    with client_of(url, token) as client:
        job = client.push_data(expand(uris, listing), no_wait, dataset=dataset, model=model)
        pool = client.dataset(job.dataset_id)
        left_out = client.report(job.id).failed if job.progress.failed and job.state is JobState.SUCCEEDED else []
    if as_json:
        print_json({"dataset": pool, "job": job})
    else:
        click.echo(f"dataset {pool.name} ({pool.samples} samples, {pool.labelled} labelled)")
        click.echo(f"scan    {job.id} {job.state}")
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
            selected = client.query_by_uri(expand(uris, listing), budget, **options)
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


def expand(uris: Iterable[str], listing: TextIO | None) -> Iterator[str]:
    """URIs and files as they are, and the images beneath each folder, in order of their paths."""
    listed = (line.strip() for line in listing) if listing is not None else iter(())
    for uri in chain(uris, filter(None, listed)):
        yield from _images(uri) if os.path.isdir(uri) else [uri]


def _images(folder: str) -> list[str]:
    found = sorted(
        os.path.join(path, name)
        for path, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )
    if not found:
        raise InvalidRequest(f"the folder {folder} holds no images", field="uris")
    return found


def _show(selected: Selected, *, plain: bool, as_json: bool) -> None:
    if as_json:
        print_json(_as_given(selected))
    elif plain:
        for uri in selected:
            click.echo(uri)
    else:
        print_chosen(selected.report.selected, selected)
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
