from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alaas import Client, errors, local_files
from alaas.waiting import poll_pause_s
from tests.unit.alaas.fake_server import FakeServer, problem

URLS = [f"https://host/{number}.png" for number in range(20)]


def test_the_papers_three_lines_choose_from_the_pool(client: Client, server: FakeServer) -> None:
    client.push_data(URLS, asynchronous=False)
    assert client.query(budget=10) == URLS[::-1][:10]


def test_a_push_waits_for_its_scan_unless_asynchronous(client: Client, server: FakeServer) -> None:
    assert client.push_data(URLS).state == "succeeded"
    assert client.push_data(URLS, asynchronous=True).state == "running"


def test_the_same_list_is_the_same_pool_and_another_list_another(client: Client, server: FakeServer) -> None:
    first = client.push_data(URLS).dataset_id
    assert client.push_data(URLS).dataset_id == first
    assert client.push_data(URLS[:5]).dataset_id != first
    assert client.query(3) == URLS[:5][::-1][:3]


def test_pushes_to_a_name_grow_one_pool(client: Client, server: FakeServer) -> None:
    client.push_data(URLS[:3], dataset="mine")
    client.push_data(URLS[3:], dataset="mine")
    assert server.datasets["mine"] == URLS


def test_a_selection_is_a_list_with_scores_and_report(client: Client, server: FakeServer) -> None:
    client.push_data(URLS)
    selected = client.query(2)
    assert isinstance(selected, list)
    assert selected.scores == [1.0, 0.9]
    assert [chosen.rank for chosen in selected.report.selected] == [1, 2]
    assert selected.job.state == "succeeded"


def test_strategy_model_and_seed_travel(client: Client, server: FakeServer) -> None:
    client.push_data(URLS)
    client.query(2, {"type": "KCenterSampling", "metric": "cosine"}, "resnet18", 7)
    sent = json.loads(server.sent("POST", "/v1/jobs")[-1].content)
    assert sent["strategy"] == {"type": "KCenterSampling", "metric": "cosine"}
    assert (sent["model"], sent["seed"], sent["budget"]) == ("resnet18", 7, 2)


def test_a_query_by_uri_needs_no_push(client: Client, server: FakeServer) -> None:
    assert client.query_by_uri(URLS, budget=3) == URLS[::-1][:3]
    assert json.loads(server.sent("POST", "/v1/jobs")[0].content)["uris"] == URLS


@pytest.mark.parametrize("budget", [0, -1, "3", True, 2.5, None, float("nan")])
def test_a_wrong_budget_is_refused_before_anything_is_sent(client: Client, server: FakeServer, budget: Any) -> None:
    with pytest.raises(errors.InvalidRequest) as of_query:
        client.query(budget)
    with pytest.raises(errors.InvalidRequest) as of_uris:
        client.query_by_uri(URLS, budget)
    assert of_query.value.field == of_uris.value.field == "budget"
    assert not server.requests


@pytest.mark.parametrize("uris", [[], (), iter(()), "https://host/1.png", None, 3, [3], [""], ["x" * 5000], [None]])
def test_a_wrong_list_is_refused_before_anything_is_sent(client: Client, server: FakeServer, uris: Any) -> None:
    with pytest.raises(errors.InvalidRequest):
        client.push_data(uris)
    assert not server.requests


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"strategy": ""}, "strategy"),
        ({"strategy": {"metric": "cosine"}}, "strategy"),
        ({"model": 3}, "model"),
        ({"deadline_s": 0}, "deadline_s"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(client: Client, options: dict[str, Any], field: str) -> None:
    client.push_data(URLS)
    with pytest.raises(errors.InvalidRequest) as caught:
        client.query(3, **options)
    assert str(caught.value.field).startswith(field)


def test_a_query_before_a_push_says_what_to_do(client: Client) -> None:
    with pytest.raises(errors.InvalidRequest, match="push_data first"):
        client.query(3)


def test_a_dataset_is_found_by_name_and_by_id(client: Client, server: FakeServer) -> None:
    made = client.create_dataset("mine")
    assert client.dataset("mine") == client.dataset(made.id) == client.dataset(made) == made
    with pytest.raises(errors.NotFound, match="'other'"):
        client.dataset("other")


def test_lists_are_walked_page_by_page(client: Client, server: FakeServer) -> None:
    server.datasets = {f"d{number}": [] for number in range(5)}
    assert [dataset.name for dataset in client.datasets()] == ["d0", "d1", "d2", "d3", "d4"]


def test_texts_go_in_their_uris_and_come_back_as_they_were_given(client: Client, server: FakeServer) -> None:
    texts = ["Grüße, Welt", "two\nlines & 100 %", "a" * 5000]
    assert client.query_by_text(texts, budget=3) == texts[::-1]
    asked = json.loads(server.sent("POST", "/v1/jobs")[0].content)
    assert asked["modality"] == "text"
    assert asked["uris"][0] == "data:text/plain;charset=utf-8,Gr%C3%BC%C3%9Fe%2C%20Welt"
    assert asked["uris"][2].startswith("upload://") and list(server.uploads.values()) == [b"a" * 5000]


@pytest.mark.parametrize("texts", [[], "one text", None, [3], [b"bytes"], ["good", "\ud800"]])
def test_what_is_no_list_of_texts_is_refused_before_anything_is_sent(
    client: Client, server: FakeServer, texts: Any
) -> None:
    with pytest.raises(errors.InvalidRequest):
        client.query_by_text(texts, budget=1)
    assert not server.requests


def test_a_failed_job_raises_its_own_error(client: Client, server: FakeServer) -> None:
    error = {"title": "t", "status": 422, "code": "model_error", "detail": "the weights are corrupt"}
    server.end = {"state": "failed", "error": error}
    with pytest.raises(errors.JobFailed, match="the weights are corrupt") as caught:
        client.push_data(URLS)
    assert caught.value.problem is not None and caught.value.problem.code == "model_error"
    assert caught.value.job_id == "job0"


def test_a_cancelled_job_ends_the_wait(client: Client, server: FakeServer) -> None:
    job = client.push_data(URLS, asynchronous=True)
    client.cancel(job)
    with pytest.raises(errors.JobFailed, match="cancelled"):
        client.wait(job)


def test_a_wait_ends_at_its_timeout(client: Client, server: FakeServer) -> None:
    server.looks_until_done = 10**6
    started = time.monotonic()
    with pytest.raises(errors.Timeout, match="it goes on"):
        client.push_data(URLS, timeout_s=0.2)
    assert time.monotonic() - started < 1


def test_a_wait_outlives_an_absence_of_the_server(client: Client, server: FakeServer) -> None:
    job = client.push_data(URLS, asynchronous=True)
    server.faults = [lambda: problem(503, "unavailable", "Redis is away", **{"retry-after": "5"})] * 3
    assert client.wait(job, timeout_s=5).state == "succeeded"


def test_looks_at_a_job_grow_rarer() -> None:
    assert poll_pause_s(0) < 0.05 < poll_pause_s(2) < poll_pause_s(1000) == 2.0
    assert poll_pause_s(9.5, 10) <= 0.5


def test_a_generator_is_streamed_as_one_request(client: Client, server: FakeServer) -> None:
    def many() -> Iterator[str]:
        yield from (f"https://host/{number}" for number in range(30_000))

    client.create_dataset("big")
    assert client.push_samples("big", many()).added == 30_000
    [request] = server.sent("POST", "/v1/datasets/id-big/samples")
    assert request.headers["content-type"] == "application/x-ndjson"
    assert int(request.headers["content-length"]) == len(request.content)


def test_a_stream_is_sent_again_from_its_start(client: Client, server: FakeServer) -> None:
    dataset = client.create_dataset("big")
    server.faults = [lambda: problem(503, "unavailable", "later")]
    assert client.push_samples(dataset, (url for url in URLS)).added == 20


def test_a_file_that_the_server_can_read_is_named_and_not_sent(
    client: Client, server: FakeServer, images: list[Path]
) -> None:
    server.readable = True
    client.push_data(images, dataset="mine")
    assert server.datasets["mine"] == [path.as_uri() for path in images]
    assert not server.uploads


def test_the_question_for_a_file_has_its_size_and_time(client: Client, server: FakeServer, images: list[Path]) -> None:
    client.push_data(images)
    asked = json.loads(server.sent("POST", "/v1/files/readable")[0].content)["files"]
    found = images[0].stat()
    assert asked[0] == {"uri": images[0].as_uri(), "size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def test_other_files_go_up_once_by_content(client: Client, server: FakeServer, images: list[Path]) -> None:
    client.push_data(images, dataset="mine")
    assert sorted(server.uploads.values()) == sorted(path.read_bytes() for path in images)
    assert all(uri.startswith("upload://") for uri in server.datasets["mine"])
    client.push_data(images, dataset="mine")
    assert sum(request.method == "PUT" for request in server.requests) == len(images)


def test_the_answer_has_the_users_own_paths(
    client: Client, server: FakeServer, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images[0].parent)
    mixed = ["0.png", str(images[1]), images[2].as_uri(), URLS[0]]
    client.push_data(mixed)
    assert client.query(4) == mixed[::-1]


def test_query_by_images_uploads_even_what_could_be_read(
    client: Client, server: FakeServer, images: list[Path]
) -> None:
    server.readable = True
    assert client.query_by_images(images, budget=2) == [str(path) for path in images[::-1][:2]]
    assert len(server.uploads) == len(images)


def test_a_file_that_is_not_there_does_not_stop_a_push(client: Client, server: FakeServer, images: list[Path]) -> None:
    missing = images[0].parent / "missing.png"
    server.failed = [{"id": "a" * 32, "uri": missing.as_uri(), "code": "not_found"}]
    client.push_data([*images, missing, images[0].parent], dataset="mine")
    assert missing.as_uri() in server.datasets["mine"]
    assert client.query(1).failed[0].uri == str(missing)


def test_a_file_that_the_server_refuses_does_not_stop_a_push(
    client: Client, server: FakeServer, images: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    server.largest_upload = images[1].stat().st_size - 1
    with caplog.at_level(logging.WARNING):
        client.push_data(images, dataset="mine")
    assert len(server.datasets["mine"]) == 3
    assert "1.png: not sent up" in caplog.text


@pytest.mark.parametrize("told_bytes", [1, 1_000_000])
def test_a_file_whose_size_changes_while_it_goes_up_does_not_stop_a_push(
    client: Client,
    server: FakeServer,
    images: list[Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    told_bytes: int,
) -> None:
    monkeypatch.setattr(local_files, "_size_and_mtime", lambda path: (told_bytes, 0))
    client.push_data(images[:1], dataset="mine")
    assert not server.uploads and len(server.datasets["mine"]) == 1
    assert "0.png: not sent up (its size changed while it was read)" in caplog.text


def test_a_name_that_is_not_utf8_can_be_pushed(client: Client, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / b"\xff.png".decode(errors="surrogateescape")
    path.write_bytes(b"x")
    server.readable = True
    client.push_data([path], dataset="mine")
    assert server.datasets["mine"] == [path.as_uri()]
    assert client.query(1) == [str(path)]


def test_labels_are_given_by_path_uri_or_id(client: Client, server: FakeServer, images: list[Path]) -> None:
    client.push_data([images[0], URLS[0]], dataset="mine")
    assert client.label({str(images[0]): "cat", URLS[0]: "dog", "0" * 32: "hen"}) == 3
    uploaded = server.datasets["mine"][0]
    assert server.labels == {uploaded: "cat", URLS[0]: "dog", "0" * 32: "hen"}


def test_labels_by_path_work_from_another_process(client: Client, server: FakeServer, images: list[Path]) -> None:
    client.push_data(images, dataset="mine")
    with Client("server", transport=server.transport) as other:
        other.label({str(images[0]): "cat"}, dataset="mine")
    assert set(server.labels) == {server.datasets["mine"][0]}


def test_health_tells_what_is_wrong_and_does_not_raise(client: Client) -> None:
    assert client.health() == {"ready": False, "detail": "no inference worker"}


def test_bars_show_each_stage(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    with Client("server", transport=server.transport, progress=True) as client:
        client.push_data(URLS)
    shown = capsys.readouterr().err
    assert all(stage in shown for stage in ("download", "preprocess", "inference")) and "selection" not in shown


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three files of different sizes; bytes are enough here."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * (10 if number == 1 else 3))
    return paths
