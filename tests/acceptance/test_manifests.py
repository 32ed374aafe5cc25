"""docs/manifests.md, run as it stands, on a fleet with a real S3 API; imports that lose their worker, or go stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from alaas import Client
from alaas.errors import JobFailed
from alaas.jobs import JobState
from tests.support import images
from tests.support.docs import blocks
from tests.support.fleets import Rig, write_config
from tests.support.s3_server import S3Server

PAGE = "manifests.md"
PHOTOS = {f"images/{name}.jpg": images.jpeg(40, 30, seed=seed) for seed, name in enumerate(("a", "b", "c/d", "e"))}
BIRDS = "file,uri,species\n../images/a.jpg,../images/a.jpg,crow\n../images/b.jpg,../images/b.jpg,\n"


@dataclass(frozen=True)
class Fleet:
    rig: Rig
    client: Client
    s3: S3Server
    folder: Path

    def run(self, script: str) -> str:
        """A block of the page as a shell runs it, in a folder with the files that it names."""
        commands = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environ = os.environ | {"ALAAS_SERVER": self.rig.server.url, "PATH": commands}
        done = subprocess.run(["bash", "-euc", script], cwd=self.folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("manifests")
    (folder / "work" / "lists").mkdir(parents=True)
    with S3Server() as s3, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        s3.put("pool", PHOTOS | {"lists/birds.csv": BIRDS.encode(), "images/notes.txt": b"x"})
        for name, data in PHOTOS.items():
            (folder / "work" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "work" / name).write_bytes(data)
        (folder / "work" / "lists" / "birds.csv").write_text(BIRDS)
        rows = [{"body": f"text {number}" * (1 + 900 * (number % 2)), "topic": None} for number in range(6)]
        (folder / "work" / "lists" / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        text = {"source": "null", "modality": "text", "text": {"tokenizer": "bytes"}}
        config = write_config(
            folder,
            models={"null": {"source": "null"}, "words": text},
            sources={"s3": s3.settings("pool"), "file": {"roots": [str(folder / "work")]}, "retry_delay_s": 0.1},
            pipeline={"lease_s": 2.0, "hint_grace_s": 1.0, "sweep_s": 0.3},
        )
        with Rig(config) as rig, rig.client() as client:
            yield Fleet(rig, client, s3, folder / "work")


def test_the_commands_of_the_page_push_what_they_name(fleet: Fleet) -> None:
    push, over_http = blocks(PAGE, "sh")
    fleet.run(push)
    of = {name: fleet.client.dataset(name) for name in ("street", "birds", "mine", "folder")}
    assert {name: (found.samples, found.labelled) for name, found in of.items()} == {
        "street": (4, 0), "birds": (2, 1), "mine": (2, 0), "folder": (4, 0)}  # fmt: skip
    assert [sample.uri for sample in fleet.client.samples("street")] == [f"s3://pool/{name}" for name in sorted(PHOTOS)]
    assert {sample.uri: sample.label for sample in fleet.client.samples("birds")} == {
        "s3://pool/images/a.jpg": "crow", "s3://pool/images/b.jpg": None}  # fmt: skip
    job = fleet.client.wait(json.loads(fleet.run(over_http))["id"])
    told = fleet.client.report(job).imported
    assert told is not None and (told.received, told.added, told.labelled) == (2, 2, 1)
    assert "crow" not in fleet.run(f"alaas jobs report {job.id}")


def test_the_python_of_the_page_gives_back_uris_texts_and_paths(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(PAGE, "python")
    monkeypatch.chdir(fleet.folder)
    names: dict[str, Any] = {}
    exec(code.replace("localhost:8888", fleet.rig.server.url), names)  # our own page
    names["client"].close()
    uris, texts, paths = (eval(line) for line in capsys.readouterr().out.splitlines())  # lists, as Python prints them
    assert all(uri.startswith("s3://pool/images/") for uri in uris) and len(uris) == 2
    assert all(text.startswith("text ") for text in texts) and len(texts) == 2
    assert [os.path.normpath(path) for path in paths] in (["images/a.jpg"], ["images/b.jpg"])


def test_the_same_samples_come_of_a_prefix_a_manifest_and_a_list_and_the_same_are_chosen(fleet: Fleet) -> None:
    uris = [f"s3://pool/{name}" for name in sorted(PHOTOS)]
    fleet.s3.put("pool", {"lists/all.csv": ("uri\n" + "\n".join(uris)).encode()})
    chosen = [
        fleet.client.query_by_uri(pool, budget=3) for pool in ("s3://pool/images/", "s3://pool/lists/all.csv", uris)
    ]
    assert chosen[0] == chosen[1] == chosen[2] and chosen[0].scores == chosen[2].scores


def test_an_object_that_changed_since_it_was_listed_says_so_until_it_is_imported_again(fleet: Fleet) -> None:
    fleet.s3.put("pool", {f"stale/{name}.jpg": images.jpeg(40, 30, seed=70 + name) for name in range(3)})
    fleet.client.push_data("s3://pool/stale/", dataset="stale", asynchronous=True)
    fleet.client._await_import(60, False)
    fleet.s3.put("pool", {"stale/1.jpg": images.jpeg(50, 40, seed=80)})
    (bad,) = fleet.client.query(2, dataset="stale").failed
    assert (bad.uri, bad.code) == ("s3://pool/stale/1.jpg", "unstable")
    assert bad.detail == "it changed since it was listed; import it again"
    fleet.client.push_data("s3://pool/stale/", dataset="stale")
    assert fleet.client.query(2, dataset="stale").failed == []


def test_a_pool_may_begin_with_samples_that_are_all_labelled(fleet: Fleet) -> None:
    (fleet.folder / "seed.csv").write_text("uri,label\nimages/a.jpg,crow\nimages/b.jpg,owl\n")
    manifest = str(fleet.folder / "seed.csv")
    job = fleet.client.push_data(manifest, column="uri", label_column="label", dataset="seeds")
    assert job.state is JobState.SUCCEEDED and fleet.client.dataset(job.dataset_id).labelled == 2
    fleet.client.push_data([str(fleet.folder / "images" / "e.jpg")], dataset="seeds")
    assert len(fleet.client.query(1, dataset="seeds")) == 1


def test_another_client_gets_back_texts_as_texts(fleet: Fleet) -> None:
    texts = ["one crow", "two owls & a jay"]
    fleet.client.push_data(texts, modality="text", dataset="notes")
    with fleet.rig.client() as other:
        assert sorted(other.query(2, dataset="notes")) == texts


@pytest.mark.parametrize(
    ("uri", "code"),
    [("s3://other/images/", "not_allowed"), ("s3://pool/nothing/", "not_found"), ("file:///etc/", "not_allowed")],
)
def test_a_prefix_that_is_not_allowed_or_not_there_fails_with_a_clear_problem(
    fleet: Fleet, uri: str, code: str
) -> None:
    with pytest.raises(JobFailed) as caught:
        fleet.client.push_data(uri)
    assert caught.value.problem is not None
    assert (caught.value.problem.code, caught.value.problem.field) == (code, "listing.uri")


def test_an_import_whose_workers_are_killed_again_and_again_ends_as_if_nothing_had_been(fleet: Fleet) -> None:
    rows = 60_000
    lines = [f"https://example.org/{number % 50_000}.jpg,{'x' if number % 9 == 0 else ''}" for number in range(rows)]
    (fleet.folder / "many.csv").write_text("uri,label\n" + "\n".join(lines))
    dataset = fleet.client.create_dataset("many")
    listing = {"uri": (fleet.folder / "many.csv").as_uri(), "label_column": "label"}
    job = fleet.client.submit_job(kind="import", dataset=dataset, listing=listing)
    kills = reached = 0
    while not (now := fleet.client.job(job)).state.is_terminal:
        if now.progress.total > reached and kills < 4:  # without getting further, a third death is its end
            reached = now.progress.total
            for pid in fleet.rig.pids("selection"):
                for child in psutil.Process(pid).children():
                    child.kill()
            kills += 1
        time.sleep(0.05)
    assert now.state is JobState.SUCCEEDED and kills > 0
    told = fleet.client.report(job).imported
    assert told is not None
    assert (told.received, told.added, told.duplicates) == (rows, 50_000, 10_000)
    found = fleet.client.dataset(dataset)
    assert (found.samples, found.labelled) == (50_000, told.labelled)
