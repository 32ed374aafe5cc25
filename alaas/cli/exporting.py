"""`alaas export triton`: a model of the configuration as a Triton model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alaas.cli.options import as_json, config_option, print_json


@click.group()
def export() -> None:
    """Write a model down for another server."""


@export.command()
@click.argument("model")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@config_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["python", "onnx"]),
    default="python",
    show_default=True,
    help="python: Triton's Python backend with torch beside it, and ALaaS where the model's code cannot be captured."
    " onnx: its onnxruntime backend.",
)
@as_json
def triton(model: str, folder: str, config: str | None, kind: str, as_json: bool) -> None:
    """Write MODEL of the configuration into the Triton model repository DIR."""
    from alaas.model_process import ask

    arguments = [model, folder, "--format", kind]
    written = ask("alaas_workers.export", arguments, Path(config) if config else None)
    if as_json:
        print_json(written)
    else:
        _show(written)


def _show(written: dict[str, Any]) -> None:
    click.echo(f"wrote {written['folder']}, which Triton serves as {written['name']!r}:")
    click.echo(f"  tritonserver --model-repository {Path(written['folder']).parent}")
    click.echo(f"  fingerprint  {written['fingerprint']}")
    if why := written["runs_own_code"]:
        click.echo(f"It runs its own code: {why}.")
        click.echo("So Triton's Python needs `pip install 'alaas[server]'` with the extras that the model needs here.")


COMMANDS = (export,)
