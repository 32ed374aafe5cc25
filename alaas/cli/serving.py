"""`alaas serve`, `alaas worker`, `alaas demo`: the fleet, one more process of it, and the tour."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import click

from alaas.config import Config, load_config
from alaas.config.loading import CONFIG_PATH_ENV
from alaas.errors import ConfigError
from alaas.jobs import Stage
from alaas.server import Server


@click.command()
@click.argument("config", type=click.Path(dir_okay=False), required=False)
@click.option("--host", help="Address to listen on; a public one needs tokens.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Where everything is kept.")
@click.option("--flower/--no-flower", default=None, help="Celery's monitor, on loopback.")
def serve(config: str | None, host: str | None, port: int | None, data_dir: str | None, flower: bool | None) -> None:
    """Serve on this machine until Ctrl-C. CONFIG: a YAML file in the paper's, the published or the full format."""
    from alaas.cli.configuring import check_strategy

    server = Server(config, host=host, port=port, data_dir=data_dir, flower__enabled=flower)
    check_strategy(server.config)
    click.echo("ALaaS starts; Ctrl-C stops it", err=True)
    server.start(on_ready=print_readiness)
    click.echo("ALaaS has stopped", err=True)


def print_readiness(server: Server) -> None:
    """Who runs, how many, and how often each was started again."""
    kinds = Counter(process.command.name.rsplit("-", 1)[0] for process in server.fleet.processes)
    restarts = sum(process.restarts for process in server.fleet.processes)
    click.echo(f"\nALaaS is ready on {server.url}  (Ctrl-C stops it)")
    for kind, count in kinds.items():
        click.echo(f"  {kind:<12} {count} {'process' if count == 1 else 'processes'}{_chunks(server.config, kind)}")
    flower = server.config.flower
    if flower.enabled and flower.password is not None:
        account = f"user {flower.user}, password {flower.password.get_secret_value()}"
        click.echo(f"  flower is on http://127.0.0.1:{flower.port} ({account})")
    click.echo(f"  restarts     {restarts}\n  data and logs in {server.fleet.data_dir}\n")


def _chunks(config: Config, kind: str) -> str:
    pool = getattr(config.workers, kind, None) if kind in list(Stage) else None
    return f", {pool.concurrency} chunks at once" if pool is not None else ""


@click.command()
@click.argument("stage", type=click.Choice([stage.value for stage in Stage]))
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Chunks at once; default: the configuration's.")
@click.option("--config", type=click.Path(dir_okay=False), help=f"Default: ${CONFIG_PATH_ENV}, else the fleet's here.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Of the fleet to join; default: .alaas")
def worker(stage: str, concurrency: int | None, config: str | None, data_dir: str | None) -> None:
    """Join a running fleet with one more process for STAGE."""
    from alaas.commands import check_installed, joining_environment, python

    path = fleet_config(config, data_dir)
    check_installed()
    more = ["--concurrency", str(concurrency)] if concurrency else []
    arguments = python("alaas_workers.worker", stage, *more)
    sys.stdout.flush()
    os.execve(arguments[0], arguments, joining_environment(os.environ, path, Stage(stage)))  # noqa: S606 - a list


def fleet_config(given: str | None, data_dir: str | None) -> Path | None:
    """The configuration of the fleet to join. Raises ConfigError when it does not say where Redis is."""
    default = Path(data_dir or Config().storage.data_dir) / "run" / "effective.yml"
    named = given or (None if data_dir else os.environ.get(CONFIG_PATH_ENV))
    path = Path(named) if named else default if data_dir or default.is_file() else None
    config = load_config(path, environ=os.environ)
    for section in ("broker", "cache"):
        if getattr(config, section).url is None:
            where = path or f"the environment (there is no {default})"
            detail = f"{where} does not name the fleet's Redis: start `alaas serve` here first, or give {section}.url"
            raise ConfigError(detail, field=f"{section}.url")
    return path


@click.command()
@click.argument("folder", type=click.Path(file_okay=False), default="alaas-demo")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Repetitions to compare.")
def demo(folder: str, seeds: int) -> None:
    """Show the whole of it on a small real pool: serve, push, query, label, train again. Under 3 minutes."""
    from alaas import demo as tour

    tour.run(folder, seeds=seeds)


COMMANDS = (serve, worker, demo)
