"""The processes that a configuration asks for, as commands with their environment. Pure, for alaas.fleet."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from alaas.config import Config
from alaas.config.loading import CONFIG_PATH_ENV, ENV_PREFIX
from alaas.errors import ConfigError
from alaas.jobs import Stage
from alaas.process import Command

logger = logging.getLogger(__name__)
PACKAGES = ("alaas", "alaas_workers", "api", "strategies")
ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds our packages: site-packages, or a checkout."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SERVER_PACKAGES = ("celery", "flask", "gunicorn", "redis", "sqlalchemy", "torch")
_CLIENT_VARIABLES = ("ALAAS_SERVER", "ALAAS_TOKEN")


def python(module: str, *arguments: str) -> list[str]:
    """-P: a user's own folder `api`, where the fleet is started, must not stand for ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def commands_for(config: Config, config_path: Path) -> list[Command]:
    """All but Redis. `config_path` is the effective configuration that every process reads."""
    folder = Path.cwd()

    def command(name: str, arguments: list[str], threads: int | None) -> Command:
        return Command(name, arguments, child_environment(os.environ, config_path, threads), folder)

    commands = [command("api", python("api"), 1)]
    for name in _numbered("dispatcher", config.workers.dispatcher):
        commands.append(command(name, python("alaas_workers.dispatcher"), 1))
    for stage in Stage:
        pool = getattr(config.workers, stage.value)
        arguments = python("alaas_workers.worker", stage.value, "--concurrency", str(pool.concurrency))
        for name in _numbered(stage.value, pool.processes):
            commands.append(command(name, arguments, _threads(stage, pool.processes)))
    if config.flower.enabled:
        commands.append(command("flower", python("alaas_workers.monitoring"), 1))
    return commands


def _numbered(name: str, count: int) -> Iterator[str]:
    yield from [name] if count == 1 else (f"{name}-{number}" for number in range(1, count + 1))


def _threads(stage: Stage, processes: int) -> int | None:
    """Threads of the numeric libraries. Many processes that each take every core only wait for each other."""
    if stage in (Stage.DOWNLOAD, Stage.PREPROCESS):
        return 1
    return None if processes == 1 else max(1, (os.cpu_count() or 1) // processes)


def check_installed() -> None:
    """Raises ConfigError when only the client's packages are here."""
    missing = [name for name in _SERVER_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the server's packages are not installed here ({', '.join(missing)}): install alaas[server]")


def joining_environment(environ: Mapping[str, str], config_path: Path | None, stage: Stage) -> dict[str, str]:
    """For a worker that joins a fleet from a shell: that shell's own settings count."""
    settings = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX)}
    child = child_environment(environ, config_path, _threads(stage, 1)) | settings
    return child | ({CONFIG_PATH_ENV: str(config_path.resolve())} if config_path is not None else {})


def child_environment(environ: Mapping[str, str], config_path: Path | None, threads: int | None) -> dict[str, str]:
    """What a process of the fleet gets: the user's environment, without settings that are in `config_path` already."""
    child = {
        name: value
        for name, value in environ.items()
        if not (name.startswith(ENV_PREFIX) and "__" in name) and name not in _CLIENT_VARIABLES
    }
    child |= {"PYTHONUNBUFFERED": "1"} | ({CONFIG_PATH_ENV: str(config_path)} if config_path is not None else {})
    if threads is not None:
        child = {name: str(threads) for name in _THREAD_VARIABLES} | child  # The user's own word stands.
    path = _python_path(environ.get("PYTHONPATH", ""))
    return child | {"PYTHONPATH": path} if path else {name: v for name, v in child.items() if name != "PYTHONPATH"}


def _python_path(given: str) -> str:
    """PYTHONPATH for a child: our checkout when we run from one, and the user's folders that hide none of ours."""
    ours = [] if ROOT.name in ("site-packages", "dist-packages") else [str(ROOT)]
    theirs = [os.path.abspath(entry) for entry in given.split(os.pathsep) if entry]
    return os.pathsep.join(dict.fromkeys(ours + [entry for entry in theirs if not _hides_ours(Path(entry))]))


def _hides_ours(folder: Path) -> bool:
    hidden = [name for name in PACKAGES if (folder / name).is_dir() or (folder / f"{name}.py").is_file()]
    if hidden and folder.resolve() != ROOT:
        logger.warning("PYTHONPATH: %s is left out for the fleet, since it holds another %r", folder, hidden[0])
        return True
    return False
