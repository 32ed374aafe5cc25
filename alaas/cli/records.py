"""What the server holds: `alaas jobs`, `datasets`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from alaas.cli.groups import ListByDefault
from alaas.cli.options import as_json, client_of, print_chosen, print_json, print_table, server_options, shown
from alaas.jobs import Imported, Job, JobState, Stage


@click.group(cls=ListByDefault)
def jobs() -> None:
    """List, show, cancel jobs, and print their reports; without a command, list."""


@jobs.command("list")
@click.option("--state", type=click.Choice([state.value for state in JobState]))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@as_json
@server_options
def list_jobs(state: str | None, limit: int, as_json: bool, url: str, token: str | None) -> None:
    """The newest jobs."""
    with client_of(url, token) as client:
        found = list(islice(client.jobs(state=state), limit))
    if as_json:
        print_json(found)
    else:
        print_table(["id", "kind", "state", "done", "budget", "model", "strategy"], [_row(job) for job in found])


def _row(job: Job) -> list[Any]:
    strategy = (job.strategy or {}).get("type", "-")
    return [job.id, job.kind, job.state, _done(job), job.budget or "-", _models(job) or "-", strategy]


def _models(job: Job) -> str:
    return job.model if isinstance(job.model, str) else ", ".join(job.model)


def _done(job: Job) -> str:
    """Samples through the last stage of the scan."""
    if job.kind == "import":
        return str(job.progress.total)
    reached = job.progress.stages.get(Stage.INFERENCE)
    return f"{reached.done if reached else 0}/{job.progress.total}"


@jobs.command("show")
@click.argument("job_id")
@click.option("--wait", is_flag=True, help="Until it ends, with progress.")
@as_json
@server_options
def show_job(job_id: str, wait: bool, as_json: bool, url: str, token: str | None) -> None:
    """State and progress of a job."""
    with client_of(url, token) as client:
        job = client.wait(job_id) if wait else client.job(job_id)
    if as_json:
        print_json(job)
        return
    for name in ("id", "kind", "state", "dataset_id", "model", "budget", "seed", "created", "started", "finished"):
        click.echo(f"{name:<12} {_models(job) if name == 'model' else getattr(job, name)}")
    for stage, reached in job.progress.stages.items():
        click.echo(f"{stage.value:<12} {reached.done}/{reached.total}")
    if job.error is not None:
        click.echo(f"{'error':<12} {job.error.detail}")


@jobs.command("cancel")
@click.argument("job_id")
@server_options
def cancel_job(job_id: str, url: str, token: str | None) -> None:
    """Stop a job; what it has scanned is kept."""
    with client_of(url, token) as client:
        click.echo(f"{job_id} {client.cancel(job_id).state}")


@jobs.command("report")
@click.argument("job_id")
@click.option("--failed", is_flag=True, help="The samples that were left out, with the reason.")
@as_json
@server_options
def print_report(job_id: str, failed: bool, as_json: bool, url: str, token: str | None) -> None:
    """What a job chose."""
    with client_of(url, token) as client:
        report = client.report(job_id)
    if as_json:
        print_json(report)
    elif report.imported is not None:
        _show_imported(report.imported)
    elif failed:
        print_table(["code", "detail", "uri"], [(bad.code, bad.detail, shown(bad.uri)) for bad in report.failed])
    else:
        print_chosen(report.selected, [shown(one.uri) for one in report.selected])
        for warning in report.warnings:
            click.echo(f"warning: {warning}", err=True)
        if report.failed:
            click.echo(f"{len(report.failed)} of {report.pool} samples were left out (--failed lists them)", err=True)


def _show_imported(imported: Imported) -> None:
    for name in ("uri", "received", "added", "duplicates", "labelled"):
        click.echo(f"{name:<12} {getattr(imported, name)}")
    for code, count in imported.skipped.items():
        click.echo(f"{'skipped':<12} {count} {code}")
    print_table(["row", "code", "detail", "value"], [tuple(vars(row).values()) for row in imported.examples])


@click.command()
@as_json
@server_options
def datasets(as_json: bool, url: str, token: str | None) -> None:
    """The pools."""
    with client_of(url, token) as client:
        found = list(client.datasets())
    if as_json:
        print_json(found)
    else:
        rows = [(d.id, d.samples, d.labelled, d.created.isoformat(" ", "seconds"), d.name) for d in found]
        print_table(["id", "samples", "labelled", "created", "name"], rows)


COMMANDS = (jobs, datasets)
