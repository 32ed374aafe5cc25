"""What must not be in the repository: hosts of package registries and paths of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In pieces, so that this file does not name them itself.
REGISTRY_HOSTS = ["py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js", "deb.deb" + "ian.org"]
MACHINE_PATHS = [r"/work" + r"/(main|shared|\.library)\b", "/root" + r"/\.", "/opt" + "/(wheels|py" + "pi)"]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of tracked files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _matching(paths: list[Path], pattern: str) -> list[str]:
    found = re.compile(pattern)
    texts = ((path, path.read_text("utf-8", "replace")) for path in paths)
    return [path.relative_to(ROOT).as_posix() for path, text in texts if found.search(text)]


def test_no_file_names_a_package_registry(tracked: list[Path]) -> None:
    assert not _matching(tracked, "|".join(map(re.escape, REGISTRY_HOSTS)))


def test_no_file_names_a_path_of_the_machine_it_was_written_on(tracked: list[Path]) -> None:
    assert not _matching(tracked, "|".join(MACHINE_PATHS))


def test_no_file_is_large(tracked: list[Path]) -> None:
    assert not [path for path in tracked if path.stat().st_size > 1024 * 1024]


def _constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def _requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=;~ ]", requirement)[0] for group in groups for requirement in group}
    return names - {project["name"]}


def test_every_dependency_has_a_tested_version() -> None:
    assert _requirements() <= _constraints().keys()


def test_constraints_hold_plain_versions() -> None:
    for name, version in _constraints().items():
        assert re.fullmatch(r"[a-z0-9-]+ [0-9][0-9a-z.]*", f"{name} {version}")


def test_the_light_install_brings_nothing_of_the_fleet() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    light = {re.split(r"[\[<>=;~ ]", requirement)[0] for requirement in project["dependencies"]}
    assert light == {"click", "httpx", "pydantic", "pyyaml", "tqdm"}
