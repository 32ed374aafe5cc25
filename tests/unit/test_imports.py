"""The arrows of docs/architecture.md, kept by walking every import of the four packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ARROWS = {
    "strategies": set(),
    "alaas": set(),
    "alaas_workers": {"alaas", "strategies"},
    "api": {"alaas", "alaas_workers", "strategies"},
}
"""Package to the packages of ours that it may import, in functions too: a late import hides an arrow, it turns none."""

SHARED = ("alaas.config", "alaas.errors", "alaas.jobs")
"""What both sides of the wire stand on; it must not reach for the client, the command line or the fleet."""

TRAPS = {"select", "queue", "random", "types", "celery"}
"""Module names that hide one of the standard library's or a dependency's from whoever runs a file beside them."""

KEYS_MODULES = {"alaas_workers/keys.py"}
REDIS_PREFIX = "alaas:"

FLEET = ("celery", "kombu", "redis", "flask", "torch", "sqlalchemy")
TORCH = ("torch", "torchvision")

LIGHT = {
    "alaas": (*FLEET, "httpx", "numpy"),
    "alaas.config": (*FLEET, "httpx"),
    "alaas.client": FLEET,
    "alaas.server": FLEET,
    "alaas.cli": FLEET,
    "strategies": (*FLEET, "pandas"),
    "alaas_workers.dispatcher": (*TORCH, "flask"),
    "alaas_workers.stages.download": (*TORCH, "flask", "sqlalchemy"),
    "alaas_workers.worker": (*TORCH, "flask", "sqlalchemy"),
    "alaas_workers.stages.preprocess": ("flask", "sqlalchemy"),
    "alaas_workers.monitoring": (*TORCH, "flask", "sqlalchemy"),
    "api": TORCH,
    "api.__main__": TORCH,
    "api.app": TORCH,
}
"""Module to what a process that imports it must not have loaded: memory and start-up time of every such process."""


@dataclass(frozen=True)
class Import:
    """One import statement's target as written, resolved to an absolute dotted name."""

    target: str
    names: tuple[str, ...]  # of `from target import names`
    at_load: bool  # runs when the module is imported
    line: int


def _paths() -> Iterator[Path]:
    for package in ARROWS:
        yield from sorted((ROOT / package).rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _modules() -> dict[str, Path]:
    return {_module(path): path for path in _paths()}


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(path: Path) -> Iterator[Import]:
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]

    def walk(node: ast.AST, at_load: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, (), at_load, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                yield Import(_absolute(child, package), tuple(a.name for a in child.names), at_load, child.lineno)
            else:
                is_late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_load and not is_late and not _is_type_checking(child))

    yield from walk(ast.parse(path.read_text("utf-8")), True)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _loaded_modules(statement: Import, importer: str) -> Iterator[str]:
    """Our modules whose body must have run before `statement` is through, apart from the importer's own parents."""
    targets = {statement.target} | {f"{statement.target}.{name}" for name in statement.names}
    names_only_modules = statement.names and all(f"{statement.target}.{n}" in _modules() for n in statement.names)
    for target in targets & _modules().keys():
        # `from package import module` in that package needs the module, and nothing of the package's own body.
        if names_only_modules and target == statement.target and importer.startswith(f"{target}."):
            continue
        yield target
        parts = target.split(".")
        for parent in (".".join(parts[:end]) for end in range(1, len(parts))):
            if not f"{importer}.".startswith(f"{parent}."):
                yield parent


def _graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, path in _modules().items():
        loaded = (_loaded_modules(statement, module) for statement in _imports(path) if statement.at_load)
        graph[module] = {target for targets in loaded for target in targets} - {module}
    return graph


def _first_names(statements: Iterable[Import]) -> Iterator[tuple[str, Import]]:
    for statement in statements:
        yield statement.target.partition(".")[0], statement


def test_every_import_follows_an_arrow() -> None:
    wrong = []
    for path in _paths():
        package = path.relative_to(ROOT).parts[0]
        for first, statement in _first_names(_imports(path)):
            if first in ARROWS and first != package and first not in ARROWS[package]:
                wrong.append(f"{path.relative_to(ROOT)}:{statement.line} imports {statement.target}")
    assert not wrong


def test_no_package_imports_the_tests() -> None:
    for path in _paths():
        for first, statement in _first_names(_imports(path)):
            assert first not in ("tests", "load_tests"), f"{path}:{statement.line}"


def _is_shared(module: str) -> bool:
    return any(f"{module}.".startswith(f"{shared}.") for shared in SHARED)


def test_the_shared_parts_import_only_each_other() -> None:
    wrong = []
    for module, path in _modules().items():
        if _is_shared(module):
            for statement in _imports(path):
                ours = statement.target.partition(".")[0] in ARROWS
                if ours and not _is_shared(statement.target):
                    wrong.append(f"{module}:{statement.line} imports {statement.target}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle_at_load_time() -> None:
    try:
        TopologicalSorter(_graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_has_a_name_that_hides_another() -> None:
    assert not [path for path in _paths() if path.stem in TRAPS]


@pytest.mark.parametrize("module", LIGHT)
def test_a_module_loads_nothing_that_its_process_does_not_need(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set({LIGHT[module]!r}) & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


@pytest.mark.parametrize(
    ("make", "unwanted"),
    [
        ("alaas_workers.worker:StageWorker(Stage.DOWNLOAD, config)._made()", (*TORCH, "flask", "sqlalchemy")),
        ("alaas_workers.dispatcher:Dispatcher.open(config)", (*TORCH, "flask")),
    ],
)
def test_a_process_that_is_ready_for_work_has_loaded_nothing_that_it_does_not_need(
    make: str, unwanted: tuple[str, ...], tmp_path: Path
) -> None:
    module, _, expression = make.partition(":")
    program = f"""
import sys
from alaas.config import load_config
from alaas.jobs import Stage
from {module} import *
config = load_config()
{expression}
print(*sorted(set({unwanted!r}) & sys.modules.keys()))
"""
    away = "redis://127.0.0.1:1/0"  # it connects at its first command, which is not sent here
    env = {"ALAAS_BROKER__URL": away, "ALAAS_CACHE__URL": away, "ALAAS_STORAGE__DATA_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, env=env, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


def _strings(path: Path) -> Iterator[str]:
    if path.suffix != ".py":
        yield path.read_text("utf-8")
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_only_the_modules_of_keys_contain_the_prefix_of_redis_keys() -> None:
    sources = [path for package in ARROWS for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".lua")]
    holders = set()
    for path in sources:
        for text in _strings(path):
            # A message for people has a space after the colon.
            if (text.startswith(REDIS_PREFIX) and text[len(REDIS_PREFIX) :][:1] != " ") or (
                path.suffix == ".lua" and REDIS_PREFIX in text
            ):
                holders.add(path.relative_to(ROOT).as_posix())
    assert holders <= KEYS_MODULES
