"""What every source promises. A new source is done when its place is on the list PLACES and passes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import pytest

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import Fetched, Sources, check_uri, upload_path
from tests.support.ftp_server import FtpServer
from tests.support.s3_server import S3Server
from tests.support.source_configs import personal
from tests.support.web_server import Request, WebServer, answer

OWNER = "somebody"
MAX_BYTES = 100_000


class Place(Protocol):
    """Where the tests put bytes for one source to read."""

    def __init__(self, folder: Path, sources: Sources) -> None: ...
    def put(self, name: str, data: bytes) -> str:
        """Put or replace; give the URI."""

    def missing(self) -> str:
        """A URI of the same kind with nothing there."""

    def wrong_kind(self) -> tuple[str, SampleCode]:
        """The URI of something that is there and is no file, and what that reads as."""

    def close(self) -> None: ...


class Files:
    def __init__(self, folder: Path, sources: Sources) -> None:
        self.folder = folder / "pool"

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / "some folder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return self.uri(path)

    def uri(self, path: Path) -> str:
        return path.as_uri()

    def missing(self) -> str:
        return self.uri(self.folder / "missing.jpg")

    def wrong_kind(self) -> tuple[str, SampleCode]:
        return self.uri(self.folder), SampleCode.NOT_ALLOWED

    def close(self) -> None: ...


class BarePaths(Files):
    def uri(self, path: Path) -> str:
        return str(path)


class Web:
    def __init__(self, folder: Path, sources: Sources) -> None:
        self.server = WebServer({"/folder/": answer(b"", "403 Forbidden")}).__enter__()

    def put(self, name: str, data: bytes) -> str:
        self.server.routes[f"/{name}"] = answer(data)
        return self.server.uri(f"/{name}")

    def missing(self) -> str:
        return self.server.uri("/missing.jpg")

    def wrong_kind(self) -> tuple[str, SampleCode]:
        return self.server.uri("/folder/"), SampleCode.FORBIDDEN

    def close(self) -> None:
        self.server.__exit__()


class Uploads:
    def __init__(self, folder: Path, sources: Sources) -> None:
        self.config = personal(folder / "data")

    def put(self, name: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = upload_path(self.config, OWNER, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"upload://{digest}"

    def missing(self) -> str:
        return "upload://" + "0" * 64

    def wrong_kind(self) -> tuple[str, SampleCode]:
        upload_path(self.config, OWNER, "1" * 64).mkdir(parents=True)
        return "upload://" + "1" * 64, SampleCode.NOT_ALLOWED

    def close(self) -> None: ...


class Ftp:
    def __init__(self, folder: Path, sources: Sources) -> None:
        self.folder = folder / "pool"
        self.server = FtpServer(self.folder).__enter__()

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / "some folder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return self.server.uri(f"some folder/{name}")

    def missing(self) -> str:
        return self.server.uri("missing.jpg")

    def wrong_kind(self) -> tuple[str, SampleCode]:
        (self.folder / "some folder").mkdir(exist_ok=True)
        return self.server.uri("some folder"), SampleCode.NOT_FOUND

    def close(self) -> None:
        self.server.__exit__()


class S3:
    server: S3Server  # the session's
    bucket = "contract"

    def __init__(self, folder: Path, sources: Sources) -> None:
        self.prefix = f"{folder.name}/some folder"
        self.server.put(self.bucket, {f"{self.prefix}/": b""})

    def put(self, name: str, data: bytes) -> str:
        self.server.put(self.bucket, {f"{self.prefix}/{name}": data})
        return f"s3://{self.bucket}/{self.prefix}/{name}"

    def missing(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}/missing.jpg"

    def wrong_kind(self) -> tuple[str, SampleCode]:
        return f"s3://{self.bucket}/{self.prefix}/", SampleCode.EMPTY

    def close(self) -> None: ...


class Data:
    """What a data URI holds is always there, and little; tests/integration/sources/test_data.py has its own limits."""

    def __init__(self, folder: Path, sources: Sources) -> None: ...

    def put(self, name: str, data: bytes) -> str:
        if len(data) > 1000:
            pytest.skip("a URI of 4,096 characters cannot hold so many bytes")
        return f"data:;x={name}," + quote(data, safe="")

    def missing(self) -> str:
        pytest.skip("a data URI is never without its data")

    def wrong_kind(self) -> tuple[str, SampleCode]:
        return "data:;base64,A", SampleCode.BAD_URI

    def close(self) -> None: ...


PLACES: list[type[Place]] = [Files, BarePaths, Web, Uploads, S3, Ftp, Data]
LISTING: list[type[Place]] = [Files, S3, Ftp]


@pytest.fixture
def sources(tmp_path: Path, aws: S3Server) -> Iterator[Sources]:
    (tmp_path / "pool").mkdir()
    S3.server = aws
    config = personal(
        tmp_path / "data",
        max_sample_bytes=MAX_BYTES,
        concurrency=4,
        file={"roots": [str(tmp_path / "pool")]},
        s3=aws.settings(S3.bucket),
    )
    made = Sources(config)
    yield made
    made.close()


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path, sources: Sources) -> Iterator[Place]:
    made = request.param(tmp_path, sources)
    yield made
    made.close()


def fetch(sources: Sources, uri: str) -> Fetched | SampleError:
    return sources.fetch_all([uri], OWNER)[0]


def code(sources: Sources, uri: str) -> SampleCode | None:
    result = fetch(sources, uri)
    return result.sample_code if isinstance(result, SampleError) else None


class TestEverySource:
    def test_the_bytes_come_as_they_are(self, place: Place, sources: Sources) -> None:
        data = os.urandom(70_000)
        result = fetch(sources, place.put("a.jpg", data))
        assert isinstance(result, Fetched) and result.data == data

    def test_what_it_reads_passes_the_check_of_the_text(self, place: Place, tmp_path: Path) -> None:
        config = personal(tmp_path)
        assert check_uri(place.put("a.jpg", b"x"), config) is None
        assert check_uri(place.missing(), config) is None

    def test_a_missing_sample_is_not_found(self, place: Place, sources: Sources) -> None:
        assert code(sources, place.missing()) is SampleCode.NOT_FOUND

    def test_an_empty_sample_is_empty(self, place: Place, sources: Sources) -> None:
        assert code(sources, place.put("empty.jpg", b"")) is SampleCode.EMPTY

    def test_as_many_bytes_as_allowed_are_read(self, place: Place, sources: Sources) -> None:
        assert code(sources, place.put("full.jpg", b"x" * MAX_BYTES)) is None

    def test_one_byte_more_than_allowed_is_too_large(self, place: Place, sources: Sources) -> None:
        assert code(sources, place.put("large.jpg", b"x" * (MAX_BYTES + 1))) is SampleCode.TOO_LARGE

    def test_something_that_is_no_file_fails(self, place: Place, sources: Sources) -> None:
        uri, expected = place.wrong_kind()
        assert code(sources, uri) is expected

    def test_a_failure_tells_no_path_and_no_host(self, place: Place, sources: Sources, tmp_path: Path) -> None:
        result = fetch(sources, place.missing())
        assert isinstance(result, SampleError)
        assert str(tmp_path) not in result.detail and "127.0.0.1" not in result.detail and ":" not in result.detail

    def test_one_bad_sample_fails_alone_and_the_order_is_kept(self, place: Place, sources: Sources) -> None:
        uris = [place.put(f"{number}.jpg", b"%d" % number) for number in range(40)]
        uris[7] = place.missing()
        finished = []
        results = sources.fetch_all(uris, OWNER, lambda: finished.append(1))
        assert [r.data if isinstance(r, Fetched) else r.sample_code for r in results] == [
            SampleCode.NOT_FOUND if number == 7 else b"%d" % number for number in range(40)
        ]
        assert len(finished) >= 40  # more where samples take turns, and say so

    def test_several_threads_fetch_at_once(self, place: Place, sources: Sources) -> None:
        uris = [place.put(f"{number}.jpg", b"%d" % number) for number in range(20)]
        together = threading.Barrier(4)

        def chunk(_: int) -> list[bytes]:
            together.wait()
            return [result.data for result in sources.fetch_all(uris, OWNER) if isinstance(result, Fetched)]

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(chunk, range(4))) == [[b"%d" % number for number in range(20)]] * 4

    def test_the_fetched_version_is_the_one_that_is_asked_for(self, place: Place, sources: Sources) -> None:
        uri = place.put("a.jpg", b"first")
        result, asked = fetch(sources, uri), sources.version(uri, OWNER)
        assert isinstance(result, Fetched) and (result.version == asked or asked == "")

    def test_where_versions_exist_other_content_is_another_version(self, place: Place, sources: Sources) -> None:
        uri = place.put("a.jpg", b"first")
        before = sources.version(uri, OWNER)
        assert place.put("a.jpg", b"second") != uri or before == "" or sources.version(uri, OWNER) != before

    def test_the_version_of_what_is_not_there_is_empty(self, place: Place, sources: Sources) -> None:
        assert sources.version(place.missing(), OWNER) == ""
        assert sources.version(place.wrong_kind()[0], OWNER) == ""


@pytest.mark.parametrize("place", LISTING, ids=lambda place: place.__name__, indirect=True)
class TestEverySourceThatLists:
    NAMES = ("a b.jpg", "c.jpg", "d%41.txt")

    def test_what_lies_beneath_a_prefix_is_listed_to_be_read(
        self, place: Place, sources: Sources, tmp_path: Path
    ) -> None:
        prefix = {place.put(name, name.encode()).rpartition("/")[0] + "/" for name in self.NAMES}.pop()
        listed = [one for page in sources.pages(prefix, OWNER) for one in page]
        assert [check_uri(one.uri, personal(tmp_path)) for one in listed] == [None] * 3
        read = [result for one in listed if isinstance(result := fetch(sources, one.uri), Fetched)]
        assert sorted(result.data.decode() for result in read) == list(self.NAMES)
        assert all(result.version in ("", one.version) for one, result in zip(listed, read, strict=True))

    def test_the_order_is_the_same_each_time(self, place: Place, sources: Sources) -> None:
        uris = [place.put(f"{number}.jpg", b"x") for number in (3, 1, 2)]
        prefix = uris[0].rpartition("/")[0] + "/"
        first, second = list(sources.pages(prefix, OWNER)), list(sources.pages(prefix, OWNER))
        assert first == second and sum(map(len, first)) == 3

    def test_where_nothing_lies_is_not_found(self, place: Place, sources: Sources) -> None:
        with pytest.raises(SampleError) as caught:
            list(sources.pages(place.missing() + "/", OWNER))
        assert caught.value.sample_code is SampleCode.NOT_FOUND


def test_another_owners_upload_is_not_found(tmp_path: Path, sources: Sources) -> None:
    uri = Uploads(tmp_path, sources).put("a.jpg", b"secret")
    (result,) = sources.fetch_all([uri], "another")
    assert isinstance(result, SampleError) and result.sample_code is SampleCode.NOT_FOUND


def test_a_link_in_place_of_an_upload_is_not_followed_out(tmp_path: Path, sources: Sources) -> None:
    uploads = Uploads(tmp_path, sources)
    uri = uploads.put("a.jpg", b"bytes")
    path = upload_path(uploads.config, OWNER, uri.removeprefix("upload://"))
    path.rename(tmp_path / "data" / "catalog.sqlite")
    path.symlink_to(tmp_path / "data" / "catalog.sqlite")
    assert code(sources, uri) is SampleCode.NOT_ALLOWED


def test_a_file_changes_its_version_with_its_content(tmp_path: Path, sources: Sources) -> None:
    files = Files(tmp_path, sources)
    versions = {sources.version(files.put("a.jpg", data), OWNER) for data in (b"1", b"22", b"333")}
    assert len(versions) == 3 and "" not in versions


def test_a_kept_connection_that_the_server_closed_is_opened_again(sources: Sources) -> None:
    def last(request: Request) -> None:
        request.send(answer(b"ok"))
        request.closing = True

    with WebServer({"*": last}) as server:
        for number in range(5):
            assert code(sources, server.uri(f"/{number}")) is None
