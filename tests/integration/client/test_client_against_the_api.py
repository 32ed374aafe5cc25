"""The client on the true application, in process: what each says, the other must understand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from alaas import Client, errors
from alaas.config import Config, parse_config
from alaas.jobs import Chosen, FailedSample, JobState, Report
from alaas_workers.catalog import Catalog
from alaas_workers.catalog.records import JobRecord
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from api.app import create_app

URLS = [f"https://host/{number}.png" for number in range(20)]


@pytest.fixture
def config(tmp_path: Path, redis_url: str) -> Config:
    (tmp_path / "pool").mkdir()
    return parse_config(
        {
            "broker": {"url": redis_url},
            "storage": {"data_dir": str(tmp_path / "data")},
            "sources": {"file": {"roots": [str(tmp_path / "pool")]}},
            "models": {"tiny": {"source": "null"}},
            "api": {"max_upload_bytes": 2048, "max_body_bytes": 65536, "max_active_jobs": 2},
        }
    )


@pytest.fixture
def catalog(config: Config) -> Iterator[Catalog]:
    catalog = Catalog.open(config.catalog_url)
    yield catalog
    catalog.close()


@pytest.fixture
def app(config: Config, catalog: Catalog) -> Flask:
    return create_app(config, catalog, Ledger.open(config), ModelCards.open(config))


@pytest.fixture
def client(app: Flask) -> Iterator[Client]:
    with Client("localhost", transport=httpx.WSGITransport(app), progress=False) as client:
        client._http._sleep = lambda seconds: None
        yield client


@pytest.fixture
def fleet(catalog: Catalog) -> Iterator[None]:
    """Ends every job at once, as the fleet would: the last samples first, and the first one failed."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.01):
            for job in catalog.open_jobs():
                catalog.mark_running(job.id)
                catalog.finish(job.id, JobState.SUCCEEDED, report=_report(catalog, job))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()


def _report(catalog: Catalog, job: JobRecord) -> Report:
    pool = catalog.pool(job.id)
    chosen = [
        Chosen(rank=rank, id=sample.id, uri=sample.uri, score=1 / rank)
        for rank, sample in enumerate(pool[::-1][: job.budget or 0], 1)
    ]
    failed = [FailedSample(id=pool[0].id, uri=pool[0].uri, code="not_found")]
    return Report(kind=job.kind, model=job.model, fingerprint="f", strategy=job.strategy, budget=job.budget,
                  seed=job.seed, pool=len(pool), duplicates=job.duplicates, selected=chosen, failed=failed)  # fmt: skip


@pytest.mark.usefixtures("fleet")
def test_the_papers_calls(client: Client) -> None:
    client.push_data([*URLS, URLS[0]], asynchronous=False)
    selected = client.query(budget=10)
    assert selected == URLS[::-1][:10]
    assert (selected.report.pool, selected.report.duplicates) == (20, 1)
    assert selected.scores[:2] == [1.0, 0.5]
    assert [failed.uri for failed in selected.failed] == [URLS[0]]


@pytest.mark.usefixtures("fleet")
def test_the_published_packages_calls(client: Client) -> None:
    assert client.query_by_uri(URLS, budget=3) == URLS[::-1][:3]


@pytest.mark.usefixtures("fleet")
def test_labelled_samples_leave_the_pool(client: Client) -> None:
    client.push_data(URLS)
    assert client.label({URLS[19]: "cat", URLS[18]: "dog"}) == 2
    assert client.query(1) == [URLS[17]]


@pytest.mark.usefixtures("fleet")
def test_files_beneath_the_roots_stay_and_others_go_up_once(client: Client, tmp_path: Path, config: Config) -> None:
    paths = [tmp_path / "pool" / "a b.png", tmp_path / "c.png", tmp_path / "d.png"]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * 100)
    given = [str(path) for path in paths]
    client.push_data(given, dataset="mine")
    uris = [sample.uri for sample in client.samples("mine")]
    assert uris[0] == paths[0].as_uri() and all(uri.startswith("upload://") for uri in uris[1:])
    assert sum(path.is_file() for path in config.uploads_dir.rglob("*")) == 2
    assert client.query(3) == given[::-1]
    assert client.label({given[1]: "cat"}) == 1


@pytest.mark.usefixtures("fleet")
def test_images_go_up_also_when_they_could_be_read(client: Client, tmp_path: Path, config: Config) -> None:
    path = tmp_path / "pool" / "a.png"
    path.write_bytes(b"image")
    assert client.query_by_images([path], budget=1) == [str(path)]
    assert sum(found.is_file() for found in config.uploads_dir.rglob("*")) == 1


def test_a_file_that_is_too_large_to_send_does_not_stop_the_push(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "small.png").write_bytes(b"x")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "large.png").write_bytes(b"x" * 4096)
    client.push_data(sorted(tmp_path.glob("*.png")), asynchronous=True, dataset="mine")
    assert client.dataset("mine").samples == 3
    assert "large.png: not sent up" in caplog.text


def test_a_push_larger_than_any_body_is_one_stream(client: Client) -> None:
    uris = (f"https://host/{number}" for number in range(5_000))
    assert client.push_samples(client.create_dataset("big"), uris).added == 5_000
    assert sum(1 for _ in client.samples("big")) == 5_000


def test_datasets_have_names_tags_and_labels(client: Client) -> None:
    made = client.create_dataset("mine", tags={"team": "a"})
    assert client.create_dataset("mine", tags={"year": "2026"}).tags == {"team": "a", "year": "2026"}
    client.push_samples("mine", URLS)
    client.label({URLS[0]: "cat"}, dataset=made)
    assert [sample.uri for sample in client.samples(made, labelled=True)] == URLS[:1]
    assert [sample.uri for sample in client.samples(made, labelled=False)] == URLS[1:]
    assert [dataset.name for dataset in client.datasets()] == ["mine"]
    assert client.dataset(made.id).labelled == 1


def test_jobs_are_shown_listed_and_cancelled(client: Client) -> None:
    job = client.submit_job(uris=URLS, budget=3, strategy="MarginConfidence", seed=7, deadline_s=60.0)
    assert client.job(job).budget == 3 and client.job(job.id).seed == 7
    assert [found.id for found in client.jobs(state="queued")] == [job.id]
    with pytest.raises(errors.Conflict):
        client.report(job)
    assert client.cancel(job).state == "cancelled"
    with pytest.raises(errors.JobFailed):
        client.wait(job)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"budget": 21}, "budget"),
        ({"budget": 1, "strategy": "NoSuchSampling"}, "strategy"),
        ({"budget": 1, "strategy": {"type": "MarginConfidence", "x": 1}}, "strategy"),
        ({"budget": 1, "model": "none"}, "model"),
        ({}, "budget"),
    ],
)
def test_what_the_server_refuses_names_its_field(client: Client, options: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        client.submit_job(uris=URLS, **options)
    assert str(caught.value.field).startswith(field)


def test_what_is_not_there_is_not_found(client: Client) -> None:
    for call in (client.job, client.report, client.cancel, client.dataset):
        with pytest.raises(errors.NotFound):
            call("0" * 32)


def test_too_many_jobs_are_told_with_a_time_to_wait(client: Client) -> None:
    for _ in range(2):
        client.submit_job(uris=URLS, budget=1)
    with pytest.raises(errors.TooManyRequests) as caught:
        client.submit_job(uris=URLS, budget=1)
    assert caught.value.retry_after_s > 0


def test_the_server_tells_of_itself(client: Client) -> None:
    assert "MarginConfidence" in [card.name for card in client.strategies()]
    assert [card.name for card in client.models()] == ["tiny"]
    assert client.config()["default_strategy"] == {"type": "LeastConfidence"}
    assert client.health()["ready"] is False  # There are no workers.


def test_a_lost_answer_is_not_work_done_twice(client: Client, app: Flask, catalog: Catalog) -> None:
    losing = True

    def lossy(environ: Any, start_response: Any) -> Any:
        nonlocal losing
        answer = app(environ, start_response)
        if losing and environ["PATH_INFO"] == "/v1/jobs":
            losing = False
            answer.close()  # type: ignore[attr-defined]
            raise httpx.ReadError("the connection broke after the work was done")
        return answer

    with Client("localhost", transport=httpx.WSGITransport(lossy), progress=False) as over_a_bad_line:
        over_a_bad_line.submit_job(uris=URLS, budget=1)
    assert len(catalog.open_jobs()) == 1
