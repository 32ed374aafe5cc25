"""The web page in a real browser: jobs, one job with its report, hostile text as text, nothing on the console."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from alaas.jobs import Chosen, JobState, Problem, Report
from alaas_workers.catalog import Catalog
from tests.support.api_process import ApiProcess
from tests.support.redis_server import RedisServer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "file:///<img src=x onerror=document.title='hacked'>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[ApiProcess]:
    with RedisServer(folder / "redis") as redis_server:
        settings = {
            "broker": {"url": redis_server.url},
            "storage": {"data_dir": str(folder / "data")},
            "models": {"tiny": {"source": "null"}},
        }
        with ApiProcess(folder, settings) as process:
            yield process


@pytest.fixture(scope="module")
def catalog(api: ApiProcess, folder: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{folder}/data/catalog.sqlite") as opened:
        yield opened


def browse(folder: Path, url: str) -> tuple[str, list[str]]:
    """The page's elements after some seconds, and what it wrote to the console."""
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", url,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=90)
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def submit(client: httpx.Client) -> str:
    return str(client.post("/v1/jobs", json={"uris": [HOSTILE, "file:///b"], "budget": 1}).json()["id"])


def test_a_jobs_report_is_shown_and_hostile_text_stays_text(api: ApiProcess, folder: Path, catalog: Catalog) -> None:
    with api.client() as client:
        job = submit(client)
    sample = catalog.pool(job)[0]
    chosen = Chosen(rank=1, id=sample.id, uri=sample.uri, score=0.25)
    report = Report(
        kind="query", model="tiny", fingerprint="f", strategy=None, budget=1, seed=0, pool=2, duplicates=0,
        selected=[chosen], failed=[],
    )  # fmt: skip
    catalog.finish(job, JobState.SUCCEEDED, report=report)
    page, console = browse(folder, f"{api.url}/#{job}")
    assert f"Job {job}" in page
    assert "First 1 of 1 chosen samples" in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<title>ALaaS</title>" in page
    assert console == []


def test_a_failed_job_shows_its_error(api: ApiProcess, folder: Path, catalog: Catalog) -> None:
    with api.client() as client:
        job = submit(client)
    error = Problem(title="The model cannot be used so", status=422, code="model_error", detail="<b>no</b> embeddings")
    catalog.finish(job, JobState.FAILED, error=error)
    page, console = browse(folder, f"{api.url}/#{job}")
    assert "The model cannot be used so: &lt;b&gt;no&lt;/b&gt; embeddings" in page
    assert page.count("<progress") >= 4
    assert console == []
