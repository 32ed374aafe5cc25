"""Versions that only a listing tells: they are kept, and bytes of another version are never taken for theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alaas.config import Config
from alaas.errors import SampleCode
from alaas_workers.cache import unpack
from alaas_workers.ledger import ChunkSample, Lease, Unit
from alaas_workers.pipeline import Made
from alaas_workers.sources import Fetched, Sources, registry
from alaas_workers.stages.download import CHANGED, Download
from tests.support.ledger import SPEC
from tests.support.source_configs import personal


class Told:
    """What each URI says of its own version at reading: mem://v1/..."""

    def __init__(self, config: Config) -> None: ...

    def version(self, uri: str, owner: str) -> str:
        return "now"

    async def fetch(self, uri: str, owner: str) -> Fetched:
        return Fetched(uri.encode(), uri.split("/")[2])

    async def close(self) -> None: ...


@pytest.fixture(params=[False, True], ids=["listed", "asked"])
def has_versions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the source can cheaply be asked for a version."""
    has: bool = request.param
    entry = registry.Entry(f"{__name__}:Told", "", lambda uri: None, has_versions=has)
    monkeypatch.setitem(registry.SOURCES, "mem", entry)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return has


def downloaded(folder: Path, *samples: tuple[str, str]) -> Made:
    chunk = tuple(ChunkSample(ordinal, uri, version) for ordinal, (uri, version) in enumerate(samples))
    lease = Lease(Unit.parse("job|download|0"), "token", SPEC, chunk, 1)
    return Download(personal(folder))(lease, b"", lambda: None)


def test_a_listed_version_stands_until_the_source_can_be_asked(has_versions: bool, tmp_path: Path) -> None:
    sources = Sources(personal(tmp_path))
    assert sources.version("mem://v1/a", "me", "v1") == ("now" if has_versions else "v1")
    assert sources.version("gopher://v1/a", "me", "v1") == ""


def test_bytes_of_another_version_fail_where_only_an_import_tells_of_it(has_versions: bool, tmp_path: Path) -> None:
    made = downloaded(tmp_path, ("mem://v1/a", "v1"), ("mem://v2/b", "v1"), ("mem:///c", "v1"), ("mem://v9/d", ""))
    ordinals, versions, _ = unpack(made.data)
    if has_versions:  # the planner asks again, and finds them under their own version
        assert (ordinals, versions, made.failed) == ([0, 1, 2, 3], ["v1", "v2", "v1", ""], [])
        return
    assert (ordinals, versions) == ([0, 2, 3], ["v1", "v1", ""])
    (failed,) = made.failed
    assert (failed.ordinal, failed.code, failed.detail) == (1, SampleCode.UNSTABLE, CHANGED)
