"""gs, az and hf against stand-ins on loopback: what is asked, of whom, with which credentials, and what comes of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.logs import set_up_logs
from alaas_workers.sources import Fetched, Sources, check_uri
from tests.support.source_configs import QUICK, personal, public
from tests.support.web_server import Request, WebServer, answer

DATED = {"ETag": '"v1"', "Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
COMMIT = "0123456789abcdef" * 2 + "01234567"
DATASET = f"hf://datasets/owner/name@{COMMIT}/"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AZURE_", "GOOGLE_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as made:
        yield made


def results(config: Config, *uris: str) -> list[Fetched | SampleError]:
    sources = Sources(config)
    try:
        return sources.fetch_all(uris, "me")
    finally:
        sources.close()


def outcomes(config: Config, *uris: str) -> list[bytes | SampleCode]:
    return [r.data if isinstance(r, Fetched) else r.sample_code for r in results(config, *uris)]


def listing(config: Config, prefix: str) -> list[list[tuple[str, str]]] | SampleCode:
    sources = Sources(config)
    try:
        return [[(listed.uri, listed.version) for listed in page] for page in sources.pages(prefix, "me")]
    except SampleError as error:
        return error.sample_code
    finally:
        sources.close()


def silence(request: Request) -> None:
    request.stopping.wait()


def store(scheme: str, server: WebServer, folder: Path, **settings: Any) -> Config:
    own: dict[str, Any] = {"endpoint": server.uri(""), "allow": ["pool/in"], "anonymous": True} | settings
    if scheme == "az":
        own = {"account": "account"} | own
    return personal(folder, max_sample_bytes=10, **{scheme: own})


@pytest.mark.parametrize("scheme", ["gs", "az"])
class TestGoogleAndAzure:
    def test_an_object_is_read_with_its_version(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        server.routes["*"] = answer(b"bytes", **DATED)
        (result,) = results(store(scheme, server, tmp_path), f"{scheme}://pool/in/a b%41.jpg")
        assert result == Fetched(b"bytes", '"v1"')
        assert unquote(server.paths[0]) == "/pool/in/a b%41.jpg"

    def test_the_limits_hold(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        server.routes["*"] = answer(b"x" * 11, **DATED)
        assert outcomes(store(scheme, server, tmp_path), f"{scheme}://pool/in/a") == [SampleCode.TOO_LARGE]
        server.routes["*"] = answer(b"", **DATED)
        assert outcomes(store(scheme, server, tmp_path), f"{scheme}://pool/in/a") == [SampleCode.EMPTY]

    @pytest.mark.parametrize(
        ("status", "code"),
        [("404 Not Found", SampleCode.NOT_FOUND), ("403 Forbidden", SampleCode.FORBIDDEN),
         ("500 Oops", SampleCode.REMOTE_ERROR)],
    )  # fmt: skip
    def test_a_refusal_gets_a_fixed_code(
        self, scheme: str, status: str, code: SampleCode, server: WebServer, tmp_path: Path
    ) -> None:
        server.routes["*"] = answer(b"secret", status)
        assert outcomes(store(scheme, server, tmp_path), f"{scheme}://pool/in/a") == [code]
        assert listing(store(scheme, server, tmp_path), f"{scheme}://pool/in/") is code

    def test_one_that_never_answers_is_unreachable(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        server.routes["*"] = silence
        config = store(scheme, server, tmp_path, **QUICK)
        assert outcomes(config, f"{scheme}://pool/in/a") == [SampleCode.UNREACHABLE]
        assert listing(config, f"{scheme}://pool/in/") is SampleCode.UNREACHABLE

    def test_only_what_is_allowed_is_asked_for(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        server.routes["*"] = answer(b"bytes", **DATED)
        config = store(scheme, server, tmp_path)
        refused = [f"{scheme}://pool/in-not/a", f"{scheme}://pool/a", f"{scheme}://other/in/a"]
        assert outcomes(config, *refused) == [SampleCode.NOT_ALLOWED] * 3
        assert listing(config, f"{scheme}://pool/") is SampleCode.NOT_ALLOWED
        assert outcomes(store(scheme, server, tmp_path, allow=[]), f"{scheme}://pool/in/a") == [SampleCode.NOT_ALLOWED]
        assert server.requests == []

    def test_a_key_that_obstore_would_change_is_refused(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        server.routes["*"] = answer(b"bytes", **DATED)
        config = store(scheme, server, tmp_path, allow=["*"])
        uris = [f"{scheme}://pool{key}" for key in ("//a", "/a//b", "/a/../b", "/./a", "/a//")]
        assert [check_uri(uri, config) for uri in uris] == [SampleCode.BAD_URI] * 5
        assert outcomes(config, f"{scheme}://pool/in/", f"{scheme}://pool/") == [SampleCode.NOT_FOUND] * 2
        assert server.requests == []

    def test_without_credentials_it_says_what_is_needed_and_asks_nobody(
        self, scheme: str, server: WebServer, tmp_path: Path
    ) -> None:
        (result,) = results(store(scheme, server, tmp_path, anonymous=False), f"{scheme}://pool/in/a")
        assert isinstance(result, SampleError) and result.sample_code is SampleCode.UNKNOWN_SCHEME
        assert f"reading {scheme} needs" in result.detail
        assert server.requests == []

    def test_it_can_be_switched_off(self, scheme: str, server: WebServer, tmp_path: Path) -> None:
        config = store(scheme, server, tmp_path, enabled=False)
        assert check_uri(f"{scheme}://pool/in/a", config) is SampleCode.UNKNOWN_SCHEME


def test_a_google_prefix_is_listed_with_versions(server: WebServer, tmp_path: Path) -> None:
    def entry(key: str, size: int) -> str:
        dated = "<LastModified>2015-10-21T07:28:00.000Z</LastModified>"
        return f"<Contents><Key>{key}</Key>{dated}<ETag>v-{size}</ETag><Size>{size}</Size></Contents>"

    found = entry("in/", 0) + entry("in/a b%41", 1) + entry("in/folder/", 0) + entry("in/folder/b", 2)
    page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    server.routes["/pool?list-type=2&prefix=in%2F"] = answer(page.encode())
    uris = [("gs://pool/in/a b%41", "v-1"), ("gs://pool/in/folder/b", "v-2")]
    assert listing(store("gs", server, tmp_path), "gs://pool/in/") == [uris]


def test_an_azure_prefix_is_listed_with_versions(server: WebServer, tmp_path: Path) -> None:
    dated = "<Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT</Last-Modified><Content-Type>image/jpeg</Content-Type>"
    properties = f"<Properties>{dated}<Etag>0x8D</Etag><Content-Length>3</Content-Length></Properties>"
    page = f"<EnumerationResults><Blobs><Blob><Name>in/a</Name>{properties}</Blob></Blobs></EnumerationResults>"
    server.routes["/pool?restype=container&comp=list&prefix=in%2F"] = answer(page.encode())
    assert listing(store("az", server, tmp_path), "az://pool/in/") == [[("az://pool/in/a", "0x8D")]]


def test_an_azure_key_of_the_environment_signs(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    server.routes["*"] = answer(b"bytes", **DATED)
    assert outcomes(store("az", server, tmp_path, anonymous=False), "az://pool/in/a") == [b"bytes"]
    assert "authorization: SharedKey account:" in server.requests[0].head


def test_google_credentials_that_cannot_be_used_are_forbidden_and_not_told(
    server: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key.json").write_text('{"private_key": "secret-word"')
    config = store("gs", server, tmp_path, anonymous=False, credentials=str(tmp_path / "key.json"))
    assert outcomes(config, "gs://pool/in/a") == [SampleCode.FORBIDDEN]
    assert "open no store" in caplog.text and "secret-word" not in caplog.text and str(tmp_path) not in caplog.text
    assert server.requests == []


class TestDatasets:
    @pytest.fixture
    def config(self, server: WebServer, tmp_path: Path) -> Config:
        return self.settings(server, tmp_path)

    def settings(self, server: WebServer, folder: Path, **own: Any) -> Config:
        hub: dict[str, Any] = {"endpoint": server.uri(""), "allow": ["owner/name"], "cache_dir": str(folder / "cache")}
        return public(folder, max_sample_bytes=10, hf=hub | own)

    def put(self, server: WebServer, path: str, route: Any) -> None:
        server.routes[f"/datasets/owner/name/resolve/{COMMIT}/{path}"] = route

    def test_a_file_is_read_at_its_commit(self, server: WebServer, config: Config) -> None:
        self.put(server, "in/a%20b%3F.txt", answer(b"bytes"))
        assert results(config, DATASET + "in/a b?.txt") == [Fetched(b"bytes", "")]

    def test_the_hubs_cache_is_read_without_the_hub(self, server: WebServer, config: Config, tmp_path: Path) -> None:
        folder = tmp_path / "cache" / "datasets--owner--name" / "snapshots" / COMMIT
        folder.mkdir(parents=True)
        (folder / "a.txt").write_bytes(b"kept")
        (folder / "large.txt").write_bytes(b"x" * 11)
        assert outcomes(config, DATASET + "a.txt", DATASET + "large.txt") == [b"kept", SampleCode.TOO_LARGE]
        assert server.requests == []

    def test_limits_and_refusals_have_fixed_codes(self, server: WebServer, config: Config) -> None:
        endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
        faults: dict[str, tuple[Any, SampleCode]] = {
            "missing": (answer(b"", "404 Not Found"), SampleCode.NOT_FOUND),
            "gated": (answer(b"", "403 Forbidden"), SampleCode.FORBIDDEN),
            "busy": (answer(b"", "429 Too Many Requests"), SampleCode.REMOTE_ERROR),
            "broken": (answer(b"secret", "500 Oops"), SampleCode.REMOTE_ERROR),
            "empty": (answer(b""), SampleCode.EMPTY),
            "large": (endless, SampleCode.TOO_LARGE),
            "short": (lambda request: (request.send(answer(b"x", Content_Length="5")), request.reset()),
                      SampleCode.UNREACHABLE),
        }  # fmt: skip
        for name, (route, _) in faults.items():
            self.put(server, name, route)
        found = outcomes(config, *(DATASET + name for name in faults))
        assert found == [code for _, code in faults.values()]

    def test_a_hub_that_cannot_be_reached_is_unreachable_in_time(self, server: WebServer, tmp_path: Path) -> None:
        self.put(server, "a", silence)
        assert outcomes(self.settings(server, tmp_path, **QUICK), DATASET + "a") == [SampleCode.UNREACHABLE]
        nowhere = self.settings(server, tmp_path, endpoint="http://127.0.0.1:9", **QUICK)
        assert outcomes(nowhere, DATASET + "a") == [SampleCode.UNREACHABLE]
        assert listing(nowhere, DATASET) is SampleCode.UNREACHABLE

    def test_only_allowed_datasets_are_asked_for(self, server: WebServer, config: Config) -> None:
        other = f"hf://datasets/owner/name-not@{COMMIT}/"
        assert outcomes(config, other + "a") == [SampleCode.NOT_ALLOWED]
        assert listing(config, other) is SampleCode.NOT_ALLOWED
        assert server.requests == []

    @pytest.mark.parametrize(
        "uri",
        ["hf://datasets/owner/name/a", "hf://datasets/owner/name@main/a", f"hf://datasets/owner/name@{COMMIT[:-1]}/a",
         f"hf://datasets/../name@{COMMIT}/a", f"hf://datasets/owner/name@{COMMIT}/../a", f"hf://datasets/name@{COMMIT}/a",
         f"hf://datasets/owner/name@{COMMIT}/a//b", f"hf://datasets/owner/name@{COMMIT}", f"hf://models/o/n@{COMMIT}/a",
         f"hf://user:token@datasets/owner/name@{COMMIT}/a"],
    )  # fmt: skip
    def test_what_is_not_pinned_or_no_file_is_a_bad_uri(self, uri: str, config: Config) -> None:
        assert check_uri(uri, config) is SampleCode.BAD_URI

    def test_the_token_goes_to_the_hub_alone(
        self, server: WebServer, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        with WebServer({"*": answer(b"bytes")}) as elsewhere:
            self.put(server, "a", answer(b"", "302 Found", Location=elsewhere.uri("/blob")))
            assert outcomes(config, DATASET + "a") == [b"bytes"]
            assert "Bearer hf_secret" in server.requests[0].head
            assert "hf_secret" not in elsewhere.requests[0].head
        outcomes(self.settings(server, tmp_path, anonymous=True), DATASET + "a")
        assert "hf_secret" not in server.requests[-1].head

    def test_the_log_of_a_worker_holds_no_signature_of_where_the_hub_redirects_to(
        self, server: WebServer, config: Config, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.put(server, "a", answer(b"", "302 Found", Location=server.uri("/blob?Signature=hunter2")))
        server.routes["/blob?Signature=hunter2"] = answer(b"bytes")
        root = logging.getLogger()
        handlers, level = root.handlers, root.level
        root.handlers = []
        try:
            set_up_logs("download")
            assert outcomes(config, DATASET + "a") == [b"bytes"]
        finally:
            root.handlers, root.level = handlers, level
        assert "hunter2" not in capsys.readouterr().err

    def test_compressed_bytes_are_not_taken_for_the_sample(self, server: WebServer, config: Config) -> None:
        self.put(server, "a", answer(b"packed", Content_Encoding="gzip"))
        assert outcomes(config, DATASET + "a") == [SampleCode.REMOTE_ERROR]

    def test_a_folder_is_listed_page_by_page(self, server: WebServer, config: Config) -> None:
        first, second = f"/api/datasets/owner/name/tree/{COMMIT}/in?recursive=true", "/api/next?cursor=x"
        server.routes[first] = tree("in/", "in/a b.txt", Link=f'<{server.uri(second)}>; rel="next"')
        server.routes[second] = tree("in/b", "in/c//d")
        pages = [[(DATASET + "in/a b.txt", "")], [(DATASET + "in/b", "")]]
        assert listing(config, DATASET + "in/") == pages
        assert listing(config, DATASET + "none/") is SampleCode.NOT_FOUND

    def test_a_listing_given_drop_by_drop_is_broken_off(self, server: WebServer, tmp_path: Path) -> None:
        broken_off = threading.Event()

        def drip(request: Request) -> None:
            request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not request.stopping.wait(0.05):
                try:
                    request.send(b" ")
                except OSError:
                    return broken_off.set()

        server.routes["*"] = drip
        assert listing(self.settings(server, tmp_path, **QUICK), DATASET) is SampleCode.UNREACHABLE
        assert broken_off.wait(5)

    def test_a_listing_without_end_is_too_large(
        self, server: WebServer, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("alaas_workers.sources.hf_source.MAX_PAGE_BYTES", 1000)
        server.routes["*"] = answer(b" " * 1001)
        assert listing(config, DATASET) is SampleCode.TOO_LARGE

    @pytest.mark.parametrize(
        "page", [b"no json", b"{}", b"[1]", b'[{"type": "file"}]', b'[{"type": "file", "path": 1}]', b"null", b"[[[["]
    )
    def test_a_listing_that_is_none_is_a_remote_error(self, page: bytes, server: WebServer, config: Config) -> None:
        server.routes["*"] = answer(page, Content_Type="application/json")
        assert listing(config, DATASET) is (SampleCode.NOT_FOUND if page == b"{}" else SampleCode.REMOTE_ERROR)

    def test_a_listing_takes_the_token_nowhere_else(self, server: WebServer, config: Config) -> None:
        path = f"/api/datasets/owner/name/tree/{COMMIT}?recursive=true"
        with WebServer({"*": tree("a")}) as elsewhere:
            server.routes[path] = tree("a", Link=f'<{elsewhere.uri("/next")}>; rel="next"')
            assert listing(config, DATASET) is SampleCode.REMOTE_ERROR
            server.routes[path] = answer(b"", "302 Found", Location=elsewhere.uri("/next"))
            assert listing(config, DATASET) is SampleCode.REMOTE_ERROR
            assert elsewhere.requests == []


def tree(*paths: str, **headers: str) -> bytes:
    """A page of the hub's listing; a folder ends in "/"."""
    entries = [{"type": "directory" if path.endswith("/") else "file", "path": path.rstrip("/")} for path in paths]
    return answer(json.dumps(entries).encode(), Content_Type="application/json", **headers)


def test_stores_load_no_torch_and_are_loaded_at_their_first_use_only() -> None:
    heavy = {"boto3", "botocore", "obstore", "huggingface_hub", "aiohttp"}
    modules = ", ".join(f"alaas_workers.sources.{name}_source" for name in ("s3", "gs", "az", "hf"))
    code = f"import sys, alaas_workers.sources\nassert not {heavy} & set(sys.modules)\nimport {modules}\n"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
