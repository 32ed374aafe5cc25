"""`engine: auto`: who computes a model is decided when the fleet starts, with docker where it is here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alaas import serving_engine
from alaas.config import Config, parse_config
from alaas.errors import ModelError
from alaas.serving_engine import with_engines
from alaas.supervisor import Supervisor

DOCKER = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$1" in
    image) exit {is_here} ;;
    pull) exec sleep {pull_s} ;;
    run) echo "the server's words"; exec sleep {run_s} ;;
esac
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs")
    yield made
    made.stop(1.0)


class Peers:
    """Stands for the processes that are asked: whether a server serves, and to export."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.exported: list[list[str]] = []

    def ask(self, module: str, arguments: list[str], config_path: Path) -> dict[str, Any]:
        if module == "alaas_workers.export":
            self.exported.append(arguments)
            return {}
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


SERVES = {"url": "localhost:8900", "models": {"m": ""}}
AWAY: dict[str, Any] = {}


def config_of(worker: dict[str, Any] | None = None, **triton: Any) -> Config:
    server: dict[str, Any] = {"url": "localhost:8900", "worker": worker} | triton
    groups = [{"kind": "KIND_GPU"}]
    return parse_config({"triton": server, "models": {"m": {"engine": "auto", "instance_group": groups}, "n": {}}})


def decide(
    config: Config, peers: Peers, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> dict[str, str]:
    monkeypatch.setattr(serving_engine, "ask", peers.ask)
    decided = with_engines(config, folder / "data" / "run" / "effective.yml", supervisor)
    return {name: model.engine for name, model in decided.models.items()}


def bring_docker(
    monkeypatch: pytest.MonkeyPatch, folder: Path, is_here: int = 0, pull_s: float = 0, run_s: int = 60
) -> None:
    """A stand-in that writes down what it is asked; `is_here` 0: the image needs no pull."""
    path = folder / "bin" / "docker"
    path.parent.mkdir()
    path.write_text(DOCKER.format(folder=folder, is_here=is_here, pull_s=pull_s, run_s=run_s))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


def asked_docker(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_a_server_that_serves_the_model_computes_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert decide(config_of(), Peers(SERVES), supervisor, monkeypatch, tmp_path) == {"m": "triton", "n": "own"}
    assert not caplog.records


@pytest.mark.parametrize(
    "answer, said",
    [
        (AWAY, "no Triton server answers at 'localhost:8900'"),
        (SERVES | {"models": {"m": "takes 3 x 9"}}, "takes 3 x 9"),
    ],
)
def test_else_its_own_engine_does_with_one_warning(
    answer: dict[str, Any],
    said: str,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert decide(config_of(), Peers(answer), supervisor, monkeypatch, tmp_path) == {"m": "own", "n": "own"}
    (warning,) = caplog.messages
    assert said in warning and "torch" in warning


def test_without_docker_the_warning_says_what_to_do(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = decide(config_of({"tag": "22.03-pyt-python-py3"}), Peers(AWAY), supervisor, monkeypatch, tmp_path)
    assert made == {"m": "own", "n": "own"}
    (warning,) = caplog.messages
    assert "nvcr.io/nvidia/tritonserver:22.03-pyt-python-py3" in warning and "install docker" in warning


def test_docker_starts_the_named_image_with_the_exported_model(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring_docker(monkeypatch, tmp_path, is_here=1)
    peers = Peers(AWAY, AWAY, SERVES)
    worker = {"type": "docker", "docker_repo": "nvcr.io/nvidia/tritonserver", "tag": "22.03-pyt-python-py3"}
    with caplog.at_level(logging.WARNING):
        made = decide(config_of(worker), peers, supervisor, monkeypatch, tmp_path)
    assert made == {"m": "triton", "n": "own"}
    models = tmp_path / "data" / "triton" / "models"
    assert peers.exported == [["m", str(models)]]
    image = "nvcr.io/nvidia/tritonserver:22.03-pyt-python-py3"
    asked = asked_docker(tmp_path)
    assert asked[:3] == ["version", f"image inspect {image}", f"pull --quiet {image}"]
    name = asked[3].split()[-1]
    assert asked[3] == f"rm --force {name}"
    assert asked[4] == (
        f"run --rm --name {name} --publish 127.0.0.1:8900:8001 --volume {models}:/models:ro --shm-size 1g {image}"
        " tritonserver --model-repository=/models --exit-timeout-secs=5"
    )
    (process,) = supervisor.processes
    assert process.command.name == "triton" and asked[4] in (tmp_path / "logs" / "triton.log").read_text()
    assert "pulls" in caplog.text and "torch" not in caplog.text


def test_a_container_that_dies_or_never_serves_is_removed_and_its_words_are_shown(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (run_s, start_s) in enumerate([(0, 60.0), (60, 0.5)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        bring_docker(monkeypatch, folder, run_s=run_s)
        config = config_of({"start_timeout_s": start_s})
        assert decide(config, Peers(AWAY), supervisor, monkeypatch, folder) == {"m": "own", "n": "own"}
        assert supervisor.processes == [] and asked_docker(folder)[-1].startswith("rm --force alaas-triton-")
    assert caplog.text.count("the server's words") >= 2  # the supervisor may have started it again by then


def test_a_pull_that_takes_too_long_is_ended(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring_docker(monkeypatch, tmp_path, is_here=1, pull_s=60)
    started = time.monotonic()
    made = decide(config_of({"pull_timeout_s": 0.3}), Peers(AWAY), supervisor, monkeypatch, tmp_path)
    assert made == {"m": "own", "n": "own"} and time.monotonic() - started < 10
    assert "could not pull" in caplog.text


def test_no_container_is_started_for_another_machine_s_address(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring_docker(monkeypatch, tmp_path)
    config = config_of({}, url="triton.example.org:8001")
    assert decide(config, Peers(AWAY), supervisor, monkeypatch, tmp_path) == {"m": "own", "n": "own"}
    assert "not this machine's address" in caplog.text and not (tmp_path / "asked").exists()


def test_a_process_that_cannot_tell_leaves_the_model_to_its_own_engine(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(*_: Any) -> dict[str, Any]:
        raise ModelError("Triton's client is not installed here: pip install 'alaas[triton]'")

    monkeypatch.setattr(serving_engine, "ask", ask)
    decided = with_engines(config_of(), tmp_path / "run" / "effective.yml", supervisor)
    assert decided.models["m"].engine == "own" and "alaas[triton]" in caplog.text


def test_without_auto_nothing_is_asked(supervisor: Supervisor, tmp_path: Path) -> None:
    config = parse_config({"triton": {"url": "localhost:8900"}})
    assert with_engines(config, tmp_path / "effective.yml", supervisor) is config
