"""The group of all commands, and what an error looks like: one line on standard error, and an exit code."""

from __future__ import annotations

import logging
from typing import Any

import click

from alaas import __version__
from alaas.cli import configuring, exporting, models, querying, records, selecting, serving, zoo
from alaas.errors import AlaasError, ConfigError, InvalidRequest, Transient

FAILED, WRONG_USE, TRY_AGAIN, INTERRUPTED = 1, 2, 3, 130


def exit_code(error: AlaasError) -> int:
    """2: what was asked is wrong. 3: a part is away, and the same may work later. 1: anything else."""
    if isinstance(error, ConfigError | InvalidRequest):
        return WRONG_USE
    return TRY_AGAIN if isinstance(error, Transient) else FAILED


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AlaasError as error:
            field = f"{error.field}: " if error.field and not error.detail.startswith(error.field) else ""
            click.echo(f"alaas: {field}{error.detail}", err=True)
            raise click.exceptions.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            click.echo("", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Active Learning as a Service: a pool of data in, the samples worth labelling out."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)


for part in (serving, querying, selecting, records, models, zoo, configuring, exporting):
    for command in part.COMMANDS:
        main.add_command(command)
