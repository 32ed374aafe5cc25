"""Procfile, compose.yml and Kubernetes manifests say the same, and what they say exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from alaas.config import Config, load_config

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
STORES = {"redis-ledger", "redis-cache", "postgres"}
OPENS_CATALOG = {"api", "dispatcher", "selection"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")

PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
PROCESSES: dict[str, Any] = {name: service for name, service in COMPOSE["services"].items() if name not in STORES}
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
DEPLOYMENTS: dict[str, Any] = {
    item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in MANIFESTS if item["kind"] == "Deployment"
}
PODS: list[dict[str, Any]] = [
    item["spec"]["template"]["spec"] for item in MANIFESTS if item["kind"] in ("Deployment", "StatefulSet")
]


def _example_env() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _interpolated(text: str) -> str:
    env = {name: value or "secret" for name, value in _example_env().items()}
    return VARIABLE.sub(lambda found: env.get(found[1], found[3] if found[2] == "-" else ""), text)


def _compose_config(service: dict[str, Any]) -> Config:
    environ = {name: _interpolated(value) for name, value in service["environment"].items()}
    return load_config(DOCKER / "alaas.yml", environ=environ)


def test_the_procfile_has_one_line_for_each_kind_of_process() -> None:
    assert list(PROCFILE) == ["api", "dispatcher", "download", "preprocess", "inference", "selection", "flower"]


def test_compose_has_one_service_per_line_of_the_procfile_with_its_command() -> None:
    assert {name: service["command"] for name, service in PROCESSES.items()} == {
        name: shlex.split(command) for name, command in PROCFILE.items()
    }


def test_kubernetes_has_one_deployment_per_line_of_the_procfile_with_its_command() -> None:
    assert {name: pod["containers"][0]["command"] for name, pod in DEPLOYMENTS.items()} == {
        name: shlex.split(command) for name, command in PROCFILE.items()
    }


@pytest.mark.parametrize("command", [line for line in PROCFILE.values() if line.startswith("python")])
def test_a_module_that_the_procfile_runs_exists(command: str) -> None:
    *start, module = shlex.split(command)
    assert start == ["python", "-P", "-m"]
    assert importlib.util.find_spec(module) is not None
    package = (ROOT / module.replace(".", "/")).is_dir()
    assert not package or importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("command", [line for line in PROCFILE.values() if line.startswith("alaas")])
def test_a_command_that_the_procfile_runs_exists(command: str) -> None:
    from alaas.cli import main

    said = CliRunner().invoke(main, [*shlex.split(command)[1:], "--help"])
    assert said.exit_code == 0, said.output


def test_the_command_line_refuses_a_stage_that_is_none() -> None:
    from alaas.cli import main

    assert CliRunner().invoke(main, ["worker", "uploading"]).exit_code != 0


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_watched_started_again_and_not_root(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["containers"][0]["name"])
def test_every_pod_is_watched_limited_and_not_root(pod: dict[str, Any]) -> None:
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container.keys() & {"livenessProbe", "readinessProbe"}
    assert "memory" in container["resources"]["limits"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", PROCESSES)
def test_the_settings_of_a_service_are_settings_of_ours(name: str) -> None:
    config = _compose_config(PROCESSES[name])
    assert not config.is_personal
    assert config.broker.url is not None
    assert config.cache.url is not None
    assert config.broker.url != config.cache.url


def test_all_services_see_the_same_sources() -> None:
    # What a source may fetch follows from how the API is reached; a worker that thought otherwise would fetch more.
    seen = {name: _compose_config(service) for name, service in PROCESSES.items()}
    assert len({(config.is_personal, config.sources.model_dump_json()) for config in seen.values()}) == 1


def test_only_processes_that_open_the_catalog_get_its_address() -> None:
    in_compose = {name for name, service in PROCESSES.items() if "ALAAS_CATALOG__URL" in service["environment"]}
    in_kubernetes = {
        name
        for name, pod in DEPLOYMENTS.items()
        if {"secretRef": {"name": "alaas-catalog"}} in pod["containers"][0]["envFrom"]
    }
    assert in_compose == in_kubernetes == OPENS_CATALOG


def test_every_variable_of_compose_is_in_the_example_or_has_a_default() -> None:
    text = "".join((DOCKER / name).read_text() for name in ("compose.yml", "compose.gpu.yml"))
    needed = {found[1] for found in VARIABLE.finditer(text) if found[2] != "-"}
    assert needed <= _example_env().keys()


def test_no_secret_has_a_default() -> None:
    assert not [name for name, value in _example_env().items() if name.endswith("PASSWORD") and value]
    assert not re.search(r"(PASSWORD|TOKENS):-", (DOCKER / "compose.yml").read_text())


def test_only_the_api_and_flower_are_published_and_only_on_loopback_by_default() -> None:
    ports = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert ports == {"api": ["${BIND:-127.0.0.1}:8888:8888"], "flower": ["${BIND:-127.0.0.1}:5555:5555"]}


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_an_image_takes_its_base_as_an_argument_and_does_not_run_as_root(name: str) -> None:
    lines = (DOCKER / name).read_text().splitlines()
    assert [line for line in lines if line.startswith("ARG BASE=")]
    assert all(line.split()[1] in ("${BASE}", "python") for line in lines if line.startswith("FROM"))
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert [line for line in lines if line.startswith("HEALTHCHECK")]
    assert "PYTHONSAFEPATH=1" in " ".join(lines)


def test_the_build_context_holds_all_that_the_dockerfiles_copy() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in ("Dockerfile.cpu", "Dockerfile.gpu"):
        for line in (DOCKER / name).read_text().splitlines():
            if line.startswith("COPY") and "--from" not in line:
                copied = [part for part in line.split()[1:-1] if part != "."]
                assert all(part in allowed and (ROOT / part).exists() for part in copied)
