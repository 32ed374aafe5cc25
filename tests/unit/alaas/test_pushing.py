"""What a push makes of folders, manifests, texts and prefixes, against a server that keeps what it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alaas import Client, errors
from tests.unit.alaas.fake_server import FakeServer


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(transport=server.transport, progress=False) as client:
        yield client


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.readable = True
    return server


def fill(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def pushed(server: FakeServer) -> list[str]:
    (uris,) = server.datasets.values()
    return uris


def test_a_folder_is_the_samples_beneath_it_in_the_order_of_their_paths(
    client: Client, server: FakeServer, tmp_path: Path
) -> None:
    files = fill(tmp_path, "a.jpg", "a/1.png", "a0.jpg", "b")
    fill(tmp_path, "a/notes.txt", ".hidden", "m.csv")
    client.push_data(str(tmp_path))
    assert pushed(server) == [path.as_uri() for path in files]


@pytest.mark.parametrize("as_list", [True, False])
def test_query_by_images_takes_folders(client: Client, server: FakeServer, tmp_path: Path, as_list: bool) -> None:
    files = fill(tmp_path, "a.jpg", "sub/b.jpg")
    given = str(tmp_path) + "/"
    assert client.query_by_images([given] if as_list else given, budget=2) == [str(path) for path in files[::-1]]
    assert len(server.uploads) == 2


def test_a_folder_of_another_modality_takes_its_suffixes(client: Client, server: FakeServer, tmp_path: Path) -> None:
    (text,) = fill(tmp_path, "a.txt")
    fill(tmp_path, "a.jpg")
    client.push_data(tmp_path, modality="text")
    assert pushed(server) == [text.as_uri()]
    with pytest.raises(errors.InvalidRequest, match="no sounds; it holds images, which are pushed with the modality"):
        client.push_data(tmp_path, modality="audio")


def test_a_manifest_of_this_machine_names_files_from_its_own_folder(
    client: Client, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(tmp_path / "lists", "a.jpg", "sub/b c.jpg")
    (tmp_path / "lists" / "m.csv").write_text("file,kind\na.jpg,cat\nsub/b c.jpg,\nhttps://host/c.jpg,dog\n,x\n")
    monkeypatch.chdir(tmp_path)
    client.push_data("lists/m.csv", column="file", label_column="kind")
    assert pushed(server) == [*(path.as_uri() for path in files), "https://host/c.jpg"]
    assert server.labels == {files[0].as_uri(): "cat", "https://host/c.jpg": "dog"}
    assert client.query(3) == ["https://host/c.jpg", "lists/sub/b c.jpg", "lists/a.jpg"]


def test_files_of_a_manifest_that_the_server_does_not_see_go_up(
    client: Client, server: FakeServer, tmp_path: Path
) -> None:
    server.readable = False
    fill(tmp_path, "a.jpg")
    (tmp_path / "m.jsonl").write_text('{"uri": "a.jpg"}\n')
    client.push_data(tmp_path / "m.jsonl")
    assert pushed(server)[0].startswith("upload://") and list(server.uploads.values()) == [b"a.jpg"]


def test_rows_that_are_left_out_are_told(client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ['{"uri": "https://host/a.jpg"}', '{"uri": null}', '{"uri": 3}', '{"uri": "\\ud800"}']
    (tmp_path / "m.jsonl").write_text("\n".join(rows))
    client.push_data(str(tmp_path / "m.jsonl"))
    assert "rows left out: 1 empty, 1 bad_value, 1 bad_uri" in caplog.text


def test_labels_of_a_local_manifest_are_those_that_the_server_takes(
    client: Client, server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ["no\u00a0break", "\U0001f468\u200d\U0001f469", "\t", "x" * 201, 7, 7.0]
    rows = [{"uri": f"https://host/{number}.jpg", "label": label} for number, label in enumerate(labels)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    client.push_data(str(tmp_path / "m.jsonl"), label_column="label")
    assert list(server.labels.values()) == ["no\u00a0break", "\U0001f468\u200d\U0001f469", "7"]
    assert "rows left out: 3 bad_label" in caplog.text


def test_a_file_of_a_manifest_may_have_a_colon_in_its_name(client: Client, server: FakeServer, tmp_path: Path) -> None:
    (file,) = fill(tmp_path, "12:30.jpg")
    (tmp_path / "m.csv").write_text("uri\n12:30.jpg\n")
    client.push_data(tmp_path / "m.csv")
    assert pushed(server) == [file.as_uri()]


def test_texts_of_a_manifest_come_back_as_texts(client: Client, server: FakeServer, tmp_path: Path) -> None:
    texts = ["first", "s\u00e9cond, \n", "x" * 5000]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"text": text, "topic": "t"}) for text in texts))
    client.push_data(str(tmp_path / "m.jsonl"), modality="text", label_column="topic")
    assert client.query(3) == texts[::-1]
    assert list(server.labels.values()) == ["t"] * 3


def test_texts_are_pushed_and_labelled_by_themselves(client: Client, server: FakeServer) -> None:
    server.modality = "text"
    client.push_data(["a b", "x" * 5000], modality="text")
    client.label({"a b": "one", "x" * 5000: "two"})
    assert list(server.labels) == pushed(server)


def test_uris_of_texts_are_uris_where_that_is_said(client: Client, server: FakeServer) -> None:
    client.push_data(["https://host/a.txt"], modality="text", are_uris=True)
    assert pushed(server) == ["https://host/a.txt"]


def test_a_prefix_is_for_the_server_to_list_and_the_scan_follows(client: Client, server: FakeServer) -> None:
    job = client.push_data("s3://bucket/images/")
    assert [asked["kind"] for asked in server.jobs.values()] == ["import", "scan"]
    assert server.jobs["job0"]["listing"] == {"uri": "s3://bucket/images/"}
    assert job.kind == "scan"


def test_an_asynchronous_push_of_a_prefix_is_waited_for_by_the_query(client: Client, server: FakeServer) -> None:
    server.looks_until_done = 5
    job = client.push_data("s3://bucket/m.csv", asynchronous=True, column="file", label_column="kind")
    assert (job.kind, job.state) == ("import", "running")
    assert server.jobs["job0"]["listing"] == {"uri": "s3://bucket/m.csv", "column": "file", "label_column": "kind"}
    client.query(1)
    assert server.jobs["job0"]["looks"] > 5


def test_the_same_prefix_is_the_same_pool_and_another_column_another(client: Client, server: FakeServer) -> None:
    for column in ("a", "a", "b"):
        client.push_data("s3://bucket/m.csv", column=column)
    assert len(server.datasets) == 2


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("s3://bucket/a.jpg", {}, "goes into a list"),
        ("missing/folder", {}, "cannot be read"),
        (["s3://bucket/a.jpg"], {"column": "uri"}, "only a manifest has columns"),
        ("a.jpg", {}, "format"),
        ("m.csv", {"column": "url"}, "no column 'url'; it has: uri"),
        ("m.csv", {"format": "xml"}, "csv"),
        (".", {"column": "uri"}, "a folder has no columns"),
        (["a"], {"modality": "sound"}, "vision"),
        (["a", 3], {"modality": "text"}, "not a text"),
        ([], {"modality": "text"}, "nothing to push"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_anything_is_sent(
    client: Client, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any,
    options: dict[str, Any], said: str,
) -> None:  # fmt: skip
    fill(tmp_path, "a.jpg")
    (tmp_path / "m.csv").write_text("uri\nhttps://host/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InvalidRequest, match=said):
        client.push_data(given, **options)
    assert not server.requests


@pytest.mark.parametrize("job", [None, 3, b"job0"])
def test_what_is_no_job_cannot_be_waited_for(client: Client, job: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="a job or its id"):
        client.wait(job)


@pytest.mark.parametrize("labels", [None, ["a"], "a", 3])
def test_what_is_no_mapping_holds_no_labels(client: Client, labels: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="labels by sample"):
        client.label(labels)
