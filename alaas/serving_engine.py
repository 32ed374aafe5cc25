"""`engine: auto`, as the paper's YAML asks for it: a Triton server computes a model if one serves it when the fleet
starts, or docker can start one here; else the model's own engine does. Decided once, for the whole fleet.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from alaas import readiness
from alaas.commands import child_environment, python
from alaas.config import Config
from alaas.config.schema import DockerWorkerConfig, TritonConfig
from alaas.errors import AlaasError
from alaas.model_process import ask
from alaas.process import Command
from alaas.supervisor import Supervisor

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_DOCKER_S = 30.0  # for a question to docker that nothing is downloaded for
_LOCAL = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "[::1]": "[::1]", "0.0.0.0": "127.0.0.1"}  # noqa: S104


class NotHere(Exception):
    """Triton does not serve; the message says why and what to do, as the end of a sentence."""


def with_engines(
    config: Config, config_path: Path, supervisor: Supervisor, given_up: Callable[[], bool] = lambda: False
) -> Config:
    """`config` with each `auto` decided; logs one warning where Triton was asked for and does not serve.

    `config_path`: the same configuration as a file, which the processes that are asked read.
    """
    names = [name for name, model in config.models.items() if model.engine == "auto"]
    if not names or config.triton is None:
        return config
    url = None
    try:
        url = _served(names, config.triton, config, config_path, supervisor, given_up)
    except NotHere as error:
        own = (
            "the model's own engine (torch) computes it"
            if len(names) == 1
            else "their own engine (torch) computes them"
        )
        logger.warning("%s; %s", error, own)
    engine = {"engine": "own" if url is None else "triton"}
    models = {
        name: model.model_copy(update=engine) if name in names else model for name, model in config.models.items()
    }
    triton = config.triton.model_copy(update={"url": url or config.triton.url})
    return config.model_copy(update={"models": models, "triton": triton})


def _served(
    names: list[str],
    triton: TritonConfig,
    config: Config,
    config_path: Path,
    supervisor: Supervisor,
    given_up: Callable[[], bool],
) -> str:
    """The URL of the server that serves all of them."""
    found = _asked(names, config_path)
    if found is None and triton.worker is None:
        raise NotHere(f"no Triton server answers at {triton.url!r}")
    if found is None and triton.worker is not None:
        found = _Container(triton, triton.worker, config, config_path).start(names, supervisor, given_up)
    if found is None or any(found.reasons):
        said = "it stopped answering" if found is None else "; ".join(filter(None, found.reasons))
        raise NotHere(f"the Triton server at {triton.url!r} does not serve: {said}")
    return found.url


class _Found(NamedTuple):
    """A server that answers, and why it does not serve each of the models; "" where it does."""

    url: str
    reasons: list[str]


def _asked(names: list[str], config_path: Path) -> _Found | None:
    try:
        answer = ask("alaas_workers.serving_engine", names, config_path)
    except AlaasError as error:
        raise NotHere(error.detail) from error
    return _Found(answer["url"], [answer["models"][name] for name in names]) if answer else None


class _Container:
    """The Triton container that `triton.worker` names, with the models of the configuration in it."""

    def __init__(self, triton: TritonConfig, worker: DockerWorkerConfig, config: Config, config_path: Path) -> None:
        self._triton, self._worker, self._config, self._config_path = triton, worker, config, config_path
        self._image = f"{worker.docker_repo}:{worker.tag}"
        folder = config_path.parents[1]
        self._repository = folder / "triton" / "models"
        self._name = f"alaas-triton-{sha256(str(folder).encode()).hexdigest()[:12]}"

    def start(self, names: list[str], supervisor: Supervisor, given_up: Callable[[], bool]) -> _Found:
        """Returns when the server serves them. Raises NotHere with nothing left running."""
        self._check_docker()
        self._pull(given_up)
        for name in names:
            self._export(name)
        return self._run(names, supervisor, given_up)

    def command(self) -> list[str]:
        """What starts the server, published on this machine alone."""
        scheme, _, address = self._triton.url.rpartition("://")
        host, _, port = address.rpartition(":")
        if host not in _LOCAL:
            raise NotHere(f"no Triton server answers at {self._triton.url!r}, which is not this machine's address")
        inside = 8000 if scheme.startswith("http") else 8001
        models = f"{self._repository}:/models:ro"
        return [
            "docker", "run", "--rm", "--name", self._name, "--publish", f"{_LOCAL[host]}:{port}:{inside}",
            "--volume", models, "--shm-size", "1g", *self._gpus(), self._image,
            "tritonserver", "--model-repository=/models", "--exit-timeout-secs=5",
        ]  # fmt: skip

    def _gpus(self) -> list[str]:
        groups = [group for model in self._config.models.values() for group in model.instance_group]
        wanted = any(group.kind == "KIND_GPU" for group in groups)
        return ["--gpus", "all"] if wanted and shutil.which("nvidia-smi") else []

    def _check_docker(self) -> None:
        self.command()
        if shutil.which("docker") is None:
            raise NotHere(
                f"no Triton server answers at {self._triton.url!r}, and docker is not here to start {self._image};"
                " install docker, or start a Triton server there (docs/triton.md)"
            )
        if _status(["docker", "version"], _DOCKER_S) != 0:
            raise NotHere(
                f"no Triton server answers at {self._triton.url!r}, and docker does not work here"
                " (`docker version` says why)"
            )

    def _pull(self, given_up: Callable[[], bool]) -> None:
        if _status(["docker", "image", "inspect", self._image], _DOCKER_S) == 0:
            return
        logger.warning("docker pulls %s, which may take many minutes", self._image)
        if _status(["docker", "pull", "--quiet", self._image], self._worker.pull_timeout_s, given_up) != 0:
            raise NotHere(
                f"docker could not pull {self._image} within {self._worker.pull_timeout_s:g} s"
                f" (`docker pull {self._image}` says why)"
            )

    def _export(self, name: str) -> None:
        self._repository.mkdir(parents=True, exist_ok=True)
        try:
            ask("alaas_workers.export", [name, str(self._repository)], self._config_path)
        except AlaasError as error:
            raise NotHere(f"the model {name!r} could not be exported to Triton: {error.detail}") from error

    def _run(self, names: list[str], supervisor: Supervisor, given_up: Callable[[], bool]) -> _Found:
        command = self.command()
        environment = child_environment(os.environ, None, None)
        arguments = python("alaas.container", self._name, *command)
        process = supervisor.start(Command("triton", arguments, environment, Path.cwd()))
        process.say(" ".join(command))
        deadline = time.monotonic() + self._worker.start_timeout_s
        while (found := _asked(names, self._config_path)) is None or any(found.reasons):
            if given_up() or process.last_exit is not None or time.monotonic() > deadline:
                supervisor.remove(process)
                _status(["docker", "rm", "--force", self._name], _DOCKER_S)
                said = readiness.last_lines(process)
                raise NotHere(f"the container of {self._image} does not serve (its last words are below)\n{said}\nso")
            time.sleep(_LOOK_S)
        return found


def _status(command: list[str], timeout_s: float, given_up: Callable[[], bool] = lambda: False) -> int | None:
    """Of a command whose words nobody reads; None when it was ended before its own end."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + timeout_s
        while run.poll() is None:
            if given_up() or time.monotonic() > deadline:
                run.kill()
                run.wait()
                return None
            time.sleep(0.05)
        return run.returncode
