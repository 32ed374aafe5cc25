"""What an install without the tests' own packages lacks: nothing. Some library may need what it does not declare."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

LIGHT = ["alaas.client", "alaas.server", "alaas.cli"]
SERVER = [*LIGHT, "api.__main__", "api.app", "alaas_workers.monitoring", "alaas_workers.dispatcher"]
SERVER += [f"alaas_workers.stages.{stage}" for stage in ("download", "preprocess", "inference", "selection")]
SERVER += ["alaas_workers.worker", "alaas_workers.sources.http_source"]
# Loaded by name when a process starts, so that no import of ours shows them.
SERVER += ["kombu.transport.redis", "kombu.transport.pyamqp", "celery.worker.consumer", "gunicorn.workers.gthread"]
SERVER += ["flower.command", "sqlalchemy.dialects.sqlite", "alembic.command"]

PROGRAM = """
import importlib, sys
from importlib.machinery import PathFinder
blocked = set(sys.argv[1].split())
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
for module in sys.argv[2].split():
    importlib.import_module(module)
"""


def _declared(*extras: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [requirement for group in groups for requirement in group]


def _closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that an install of `requirements` brings here."""
    found: set[tuple[str, str]] = set()
    ahead = [(text, "") for text in requirements]
    while ahead:
        text, extra = ahead.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in found:
                found.add((name, wanted))
                ahead += [(needed, wanted) for needed in _requires(name)]
    return {name for name, _ in found}


@cache
def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another platform
        return []


def _absent(*extras: str) -> list[str]:
    """Modules that only the tests' packages bring."""
    there = _closure(_declared(*extras)) | {"alaas", "setuptools", "pip"}
    owners = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
    return sorted(module for module, names in owners.items() if not names & there)


@pytest.mark.parametrize(("extras", "modules"), [((), LIGHT), (("server",), SERVER)], ids=["light", "server"])
def test_what_an_install_brings_is_enough(extras: tuple[str, ...], modules: list[str]) -> None:
    command = [sys.executable, "-P", "-W", "ignore", "-c", PROGRAM, " ".join(_absent(*extras)), " ".join(modules)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_trial_hides_what_only_tests_need() -> None:
    assert {"pytest", "hypothesis", "mypy"} <= set(_absent("server"))
    assert {"torch", "celery", "flask", "pytest"} <= set(_absent())
    assert "torch" not in _absent("server")
