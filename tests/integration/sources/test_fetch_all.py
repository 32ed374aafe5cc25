"""`Sources` itself: many samples at once, retries, sources that break, and what importing it costs."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from alaas.config import Config
from alaas.errors import ConfigError, SampleCode, SampleError, TransientSampleError
from alaas_workers.sources import Fetched, Sources, registry
from tests.support.source_configs import personal, public


class Scripted:
    """mem://ok gives bytes, mem://broken has a bug, mem://slow takes a minute, mem://away is never reached."""

    def __init__(self, config: Config) -> None:
        self.closed = False

    def version(self, uri: str, owner: str) -> str:
        return "1"

    async def fetch(self, uri: str, owner: str) -> Fetched:
        if uri.startswith("mem://broken"):
            raise ZeroDivisionError(f"at {uri}")
        if uri == "mem://away":
            raise TransientSampleError(SampleCode.UNREACHABLE)
        if uri == "mem://slow":
            await asyncio.sleep(60)
        return Fetched(uri.encode(), "1")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    entry = registry.Entry(f"{__name__}:Scripted", "", lambda uri: None, has_versions=True)
    monkeypatch.setitem(registry.SOURCES, "mem", entry)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    missing = registry.Entry("no_such_package.s3:S3", "reading s3 needs boto3", lambda uri: None, has_versions=True)
    monkeypatch.setitem(registry.SOURCES, "s3", missing)
    made = Sources(personal(tmp_path))
    yield made
    made.close()


def test_nothing_of_nothing(sources: Sources) -> None:
    assert sources.fetch_all([], "me") == []


def test_a_bug_in_a_source_costs_one_sample_and_logs_no_uri(sources: Sources, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        good, bad = sources.fetch_all(["mem://ok", "mem://broken?signature=secret"], "me")
    assert isinstance(good, Fetched)
    assert isinstance(bad, SampleError) and bad.sample_code is SampleCode.REMOTE_ERROR
    assert "ZeroDivisionError" in caplog.text and "secret" not in caplog.text


def test_a_source_whose_import_fails_says_what_to_install(sources: Sources) -> None:
    (result,) = sources.fetch_all(["s3://bucket/a"], "me")
    assert isinstance(result, SampleError) and result.sample_code is SampleCode.UNKNOWN_SCHEME
    assert "needs boto3" in result.detail
    assert sources.version("s3://bucket/a", "me") == ""


def test_bad_uris_and_unknown_schemes_fail_alone(sources: Sources) -> None:
    results = sources.fetch_all(["mem://ok", "nonsense", "gopher://x", "http://a:b@c/"], "me")
    codes = [result.sample_code for result in results[1:] if isinstance(result, SampleError)]
    assert codes == [SampleCode.BAD_URI, SampleCode.UNKNOWN_SCHEME, SampleCode.BAD_URI]


def test_what_progress_raises_stops_the_rest_and_reaches_the_caller(sources: Sources) -> None:
    calls: list[str] = []

    def lost() -> None:
        calls.append(threading.current_thread().name)
        raise InterruptedError("the lease is lost")

    with pytest.raises(InterruptedError):
        sources.fetch_all(["mem://slow"] + ["mem://ok"] * 1000, "me", lost)
    assert len(calls) <= 16
    assert isinstance(sources.fetch_all(["mem://ok"], "me")[0], Fetched)


def test_each_failed_try_is_progress(sources: Sources) -> None:
    """A chunk whose hosts all hang for as long as they may moves on, though none of its samples is through."""
    calls: list[None] = []
    (result,) = sources.fetch_all(["mem://away"], "me", lambda: calls.append(None))
    assert isinstance(result, SampleError) and result.sample_code is SampleCode.UNREACHABLE
    assert len(calls) == sources._config.sources.attempts


def test_closing_ends_a_fetch_that_still_runs(sources: Sources) -> None:
    with ThreadPoolExecutor(1) as other:
        fetch = other.submit(sources.fetch_all, ["mem://slow"], "me")
        time.sleep(0.1)
        sources.close()
        with pytest.raises(CancelledError):
            fetch.result(5)


def test_closing_twice_is_fine_and_a_closed_one_starts_again(sources: Sources) -> None:
    assert sources.fetch_all(["mem://ok"], "me")
    sources.close()
    sources.close()
    assert isinstance(sources.fetch_all(["mem://ok"], "me")[0], Fetched)


def test_closing_leaves_no_thread(sources: Sources) -> None:
    sources.fetch_all(["mem://ok", "/nowhere/a"], "me")
    sources.close()
    for thread in threading.enumerate():
        if thread.name.startswith("alaas"):
            thread.join(timeout=10)  # a reader is not waited for by `close`, since a dead disk would hold it up
            assert not thread.is_alive(), thread.name


def test_a_wrong_range_shows_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a range"):
        Sources(public(tmp_path, http={"allow_hosts": ["300.0.0.0/8"]}))


def test_the_check_the_versions_and_local_files_load_no_http_library() -> None:
    program = """
import sys
from alaas.config import Config
from alaas_workers.sources import Sources, check_uri
config = Config()
check_uri("http://example.org/a", config)
sources = Sources(config)
sources.version("http://example.org/a", "me")
sources.fetch_all(["/nowhere/a"], "me")
sources.close()
print(sorted({"aiohttp", "yarl", "torch", "celery", "redis", "flask", "obstore"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
