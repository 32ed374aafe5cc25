"""Imports over a real catalog and real files: what they add and tell, done once, done again, cut short or cancelled."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alaas.config import Config
from alaas.config.loading import parse_config
from alaas.errors import SampleCode, Unavailable
from alaas.jobs import Imported, JobRequest, JobState, Listing, Problem, Report
from alaas.texts import text_uri
from alaas_workers import importing
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.importing import Import
from alaas_workers.sources import Fetched, Sources
from alaas_workers.sources.base import Listed
from alaas_workers.sources.failures import failure, transient_failure
from tests.support.catalogs import OWNER, new_job


class Killed(BaseException):
    """The worker is gone: nothing below may catch it."""


class Bench:
    def __init__(self, folder: Path, template: Path, **sources: Any) -> None:
        self.pool = folder / "pool"
        self.pool.mkdir()
        self.config: Config = parse_config(
            {
                "storage": {"data_dir": str(folder / "data")},
                "models": {"tiny": {"source": "null"}},
                "sources": {"file": {"roots": [str(self.pool)]}, "retry_delay_s": 0.0} | sources,
            }
        )
        self.config.storage.data_dir.mkdir()
        shutil.copy(template, self.config.storage.data_dir)
        self.catalog = Catalog.open(self.config.catalog_url)
        self.moved = 0

    def dataset(self, modality: str = "vision", name: str = "pool") -> str:
        return self.catalog.create_dataset(OWNER, name, modality)[0].id

    def put(self, name: str, data: bytes = b"x") -> str:
        path = self.pool / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path.as_uri()

    def submit(self, dataset_id: str, uri: str, **listing: Any) -> JobRecord:
        asked = JobRequest(kind="import", dataset_id=dataset_id, listing=Listing(uri=uri, **listing))
        return self.catalog.create_job(OWNER, asked, model="", strategy=None, max_active=100)[0]

    def work(self, record: JobRecord, dies_after: int | None = None) -> None:
        """One worker, which is killed at the progress of that number."""
        steps = 0

        def progress() -> None:
            nonlocal steps
            steps += 1
            if dies_after is not None and steps > dies_after:
                raise Killed

        def moved_on() -> None:
            self.moved += 1

        Import(self.config, self.catalog).run(self.catalog.get_job(record.id), progress, moved_on)

    def run(self, dataset_id: str, uri: str, **listing: Any) -> Imported:
        record = self.submit(dataset_id, uri, **listing)
        self.work(record)
        return self.told(record)

    def told(self, record: JobRecord) -> Imported:
        imported = Report.model_validate_json(self.catalog.report(record.id)).imported
        assert imported is not None
        return imported

    def error(self, dataset_id: str, uri: str, **listing: Any) -> Problem:
        record = self.submit(dataset_id, uri, **listing)
        self.work(record)
        ended = self.catalog.get_job(record.id)
        assert ended.state is JobState.FAILED and ended.error is not None
        return ended.error

    def uris(self, dataset_id: str) -> list[str]:
        return [sample.uri for sample in self.catalog.list_samples(OWNER, dataset_id, limit=1000)[0]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog to copy, which is quicker than to make one for each test."""
    path = tmp_path_factory.mktemp("template") / "catalog.sqlite"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def bench(tmp_path: Path, template: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, template)
    yield bench
    bench.catalog.close()


def test_a_folder_gives_the_samples_beneath_it_in_the_order_of_their_paths(bench: Bench) -> None:
    names = ["a.jpg", "a/1.jpg", "a/b/2 3.png", "a0.jpg", "key-without-suffix"]
    uris = [bench.put(name) for name in names]
    others = [bench.put(name) for name in ("notes.txt", ".hidden", "a/m.csv")]
    dataset_id = bench.dataset()
    told = bench.run(dataset_id, f"{bench.pool.as_uri()}/")
    assert bench.uris(dataset_id) == uris
    assert (told.received, told.added, told.duplicates, told.skipped) == (8, 5, 0, {"other_file": 3})
    assert sorted(row.value for row in told.examples) == sorted(others)
    again = bench.run(dataset_id, f"{bench.pool.as_uri()}/")
    assert (again.added, again.duplicates) == (0, 5)


def test_nothing_is_listed_that_may_not_be_read(bench: Bench, tmp_path: Path) -> None:
    inside = bench.put("a.jpg")
    bench.put("inner/b.jpg")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.jpg").write_bytes(b"x")
    (bench.pool / "out").symlink_to(tmp_path / "secret")
    (bench.pool / "out.jpg").symlink_to(tmp_path / "secret" / "s.jpg")
    (bench.pool / "circle").symlink_to(bench.pool)
    (bench.pool / "in.jpg").symlink_to(bench.pool / "inner" / "b.jpg")
    os.mkfifo(bench.pool / "pipe.jpg")
    dataset_id = bench.dataset()
    bench.run(dataset_id, f"{bench.pool.as_uri()}/")
    pool = bench.pool.as_uri()
    assert bench.uris(dataset_id) == [inside, f"{pool}/in.jpg", f"{pool}/inner/b.jpg"]
    for uri in (f"{tmp_path.as_uri()}/", f"{pool}/out/", f"{pool}/../secret/", "file:///"):
        assert bench.error(dataset_id, uri).code == "not_allowed"


def test_a_report_tells_no_credentials_of_a_row_that_is_left_out(bench: Bench) -> None:
    told = bench.run(bench.dataset(), bench.put("m.csv", b"uri\nhttps://me:se@cret@host/a.jpg\n"))
    assert [(row.code, row.value) for row in told.examples] == [("bad_uri", "https://...@host/a.jpg")]


def test_the_data_folder_is_not_listed_with_the_folder_that_holds_it(tmp_path: Path, template: Path) -> None:
    bench = Bench(tmp_path, template, file={"roots": [str(tmp_path)]})
    uri = bench.put("a.jpg")
    (bench.config.uploads_dir / "x").mkdir(parents=True)
    (bench.config.uploads_dir / "x" / "another-owners").write_bytes(b"x")
    dataset_id = bench.dataset()
    bench.run(dataset_id, f"{tmp_path.as_uri()}/")
    assert bench.uris(dataset_id) == [uri]
    bench.catalog.close()


@pytest.mark.parametrize("name", ["missing/", "empty/", "a.jpg/", "m.csv"])
def test_where_nothing_lies_the_import_fails_and_says_so(bench: Bench, name: str) -> None:
    (bench.pool / "empty").mkdir()
    bench.put("a.jpg")
    error = bench.error(bench.dataset(), f"{bench.pool.as_uri()}/{name}")
    assert (error.code, error.field, error.status) == ("not_found", "listing.uri", 422)


def test_a_source_that_cannot_list_says_so(bench: Bench) -> None:
    assert "cannot list" in bench.error(bench.dataset(), "http://127.0.0.1:9/images/").detail


def test_a_manifest_brings_labels_and_says_what_it_left_out(bench: Bench) -> None:
    lines = ["uri,label", "a.jpg,cat", "sub/b.jpg,", "a.jpg,cat", ",dog", "gopher://host/x,", "/etc/passwd,",
             "c.jpg," + "x" * 300, "https://user:pw@host/x.jpg,", "https://host/d.jpg,dog"]  # fmt: skip
    uri = bench.put("lists/m.csv", "\n".join(lines).encode())
    dataset_id = bench.dataset()
    told = bench.run(dataset_id, uri, label_column="label")
    folder = f"{bench.pool.as_uri()}/lists"
    # What may not be read is a sample all the same, and fails alone when it is scanned.
    assert bench.uris(dataset_id) == [
        f"{folder}/a.jpg",
        f"{folder}/sub/b.jpg",
        "/etc/passwd",
        "https://host/d.jpg",
    ]
    assert (told.received, told.added, told.duplicates, told.labelled) == (9, 4, 1, 2)
    assert told.skipped == {"bad_label": 1, "bad_uri": 1, "empty": 1, "unknown_scheme": 1}
    assert [(row.row, row.code) for row in told.examples] == [
        (4, "empty"), (5, "unknown_scheme"), (7, "bad_label"), (8, "bad_uri")]  # fmt: skip
    samples, _ = bench.catalog.list_samples(OWNER, dataset_id)
    assert [sample.label for sample in samples] == ["cat", None, None, "dog"]
    assert new_job(bench.catalog, dataset_id=dataset_id).duplicates == 1


def test_texts_of_a_manifest_stand_in_their_uris_and_longer_ones_are_kept_by_content(bench: Bench) -> None:
    file = io.BytesIO()
    texts = ["short", "long " * 2000, "", None, "short", "gr\u00fc\u00df\n"]
    pq.write_table(pa.table({"body": texts}), file)
    dataset_id = bench.dataset("text")
    told = bench.run(dataset_id, bench.put("m.parquet", file.getvalue()), text_column="body")
    assert (told.received, told.added, told.duplicates, told.skipped) == (6, 3, 1, {"empty": 2})
    first, second, third = bench.uris(dataset_id)
    assert (first, third) == (text_uri("short"), text_uri("gr\u00fc\u00df\n"))
    (kept,) = Sources(bench.config).fetch_all([second], OWNER)
    assert isinstance(kept, Fetched) and kept.data == ("long " * 2000).encode()
    (other,) = Sources(bench.config).fetch_all([second], "another")
    assert not isinstance(other, Fetched)


def test_a_lone_surrogate_is_left_out_as_no_text(bench: Bench) -> None:
    data = b'{"text": "\\ud800"}\n{"text": 3}\n{"text": "good"}\n'
    told = bench.run(bench.dataset("text"), bench.put("m.jsonl", data))
    assert (told.added, told.skipped) == (1, {"bad_text": 1, "bad_value": 1})


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("m.csv", b"url\na.jpg\n", "manifest_error"),
        ("m.csv", b"uri\n\xff\n", "manifest_error"),
        ("m.jsonl", b'{"\\ud800": 1}\n', "manifest_error"),
        ("m.csv", b"", "empty"),
        ("m.csv", b"uri\n", "not_found"),
        ("m.jpg", b"uri\n", "manifest_error"),
        ("m.csv", b"uri\n" + b"x" * 2000, "too_large"),
    ],
)
def test_a_manifest_that_cannot_be_read_fails_the_import_with_its_reason(
    tmp_path: Path, template: Path, name: str, data: bytes, code: str
) -> None:
    bench = Bench(tmp_path, template, max_manifest_bytes=1000)
    assert bench.error(bench.dataset(), bench.put(name, data)).code == code
    bench.catalog.close()


def test_more_rows_than_a_dataset_holds_fail_the_import(bench: Bench) -> None:
    bench.config = bench.config.model_copy(update={"api": bench.config.api.model_copy(update={"max_pool": 2})})
    error = bench.error(bench.dataset(), bench.put("m.csv", b"uri\na\nb\nc\n"))
    assert (error.code, error.field) == ("too_large", "dataset_id")


@pytest.mark.parametrize("dies_after", range(2, 12))
def test_a_worker_that_dies_at_any_step_leaves_an_import_that_another_ends_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, dies_after: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", 3)
    rows = [f"{number % 13}.jpg,{'cat' if number % 5 == 0 else ''}" for number in range(30)]
    uri = bench.put("m.csv", ("uri,label\n" + "\n".join([*rows, "gopher://x,"])).encode())
    undisturbed = bench.run(bench.dataset(name="undisturbed"), uri, label_column="label")
    dataset_id = bench.dataset()
    record = bench.submit(dataset_id, uri, label_column="label")
    with pytest.raises(Killed):
        bench.work(record, dies_after)
    bench.work(record)
    assert bench.told(record) == undisturbed
    assert undisturbed.added == 13 and undisturbed.duplicates == 17
    other = bench.dataset(name="undisturbed")
    assert bench.catalog.list_samples(OWNER, dataset_id) == bench.catalog.list_samples(OWNER, other)
    jobs = [new_job(bench.catalog, dataset_id=one) for one in (dataset_id, other)]
    assert jobs[0].duplicates == jobs[1].duplicates == 17


def test_only_work_beyond_what_was_reached_before_counts_as_moving_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 3)
    uri = bench.put("m.csv", ("uri\n" + "\n".join(f"{number}.jpg" for number in range(12))).encode())
    record = bench.submit(bench.dataset(), uri)
    with pytest.raises(Killed):
        bench.work(record, dies_after=3)
    reached, bench.moved = bench.moved, 0
    with pytest.raises(Killed):
        bench.work(record, dies_after=3)
    assert (reached > 0, bench.moved) == (True, 0)


def test_a_cancelled_import_adds_nothing_more_and_keeps_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    uri = bench.put("m.csv", ("uri\n" + "\n".join(f"{number}.jpg" for number in range(10))).encode())
    dataset_id = bench.dataset()
    record = bench.submit(dataset_id, uri)
    with pytest.raises(Killed):
        bench.work(record, dies_after=3)
    added = len(bench.uris(dataset_id))
    assert bench.catalog.finish(record.id, JobState.CANCELLED)
    bench.work(record)
    assert len(bench.uris(dataset_id)) == added < 10
    assert bench.catalog.get_job(record.id).state is JobState.CANCELLED


def test_an_import_without_end_ends_in_time_and_keeps_what_came(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(10**9))

    def endless(self: Sources, prefix: str, owner: str) -> Iterator[list[Listed]]:
        while True:
            yield [Listed(f"file:///pool/{next(numbers)}.jpg", "v")]

    monkeypatch.setattr(Sources, "pages", endless)
    sources = bench.config.sources.model_copy(update={"import_timeout_s": 0.3})
    bench.config = bench.config.model_copy(update={"sources": sources})
    error = bench.error(bench.dataset(), "file:///pool/")
    assert (error.code, error.status) == ("import_timeout", 504)


@pytest.mark.parametrize("breaks_at", [0, 1])
def test_a_listing_that_breaks_off_is_tried_again_from_its_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    tries = 0

    def shaky(self: Sources, prefix: str, owner: str) -> Iterator[list[Listed]]:
        nonlocal tries
        tries += 1
        for page in range(2):
            if page == breaks_at and tries < 3:
                raise transient_failure(SampleCode.UNREACHABLE)
            yield [Listed(f"file:///pool/{page}.jpg", "v")]

    monkeypatch.setattr(Sources, "pages", shaky)
    told = bench.run(bench.dataset(), "file:///pool/")
    assert (tries, told.received, told.added) == (3, 2, 2)


def test_a_listing_that_never_comes_fails_after_its_tries(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Sources, prefix: str, owner: str) -> Iterator[list[Listed]]:
        raise failure(SampleCode.FORBIDDEN)
        yield []

    monkeypatch.setattr(Sources, "pages", refused)
    assert bench.error(bench.dataset(), "file:///pool/").code == "forbidden"


def test_a_catalog_that_is_away_for_a_moment_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true, calls = bench.catalog.import_batch, 0

    def away_at_first(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("away")
        return true(*arguments)

    monkeypatch.setattr(bench.catalog, "import_batch", away_at_first)
    assert bench.run(bench.dataset(), bench.put("m.csv", b"uri\na.jpg\n")).added == 1


def test_a_manifest_that_takes_too_much_memory_fails_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MEMORY_BYTES", 50 * 1024**2)
    file = io.BytesIO()
    pq.write_table(pa.table({"uri": ["x" * 120_000_000]}), file)
    error = bench.error(bench.dataset(), bench.put("m.parquet", file.getvalue()))
    assert error.code in ("too_large", "manifest_error")
    assert bench.run(bench.dataset(), bench.put("m.csv", b"uri\na.jpg\n")).added == 1
