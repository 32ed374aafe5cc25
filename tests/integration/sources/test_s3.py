"""The s3 source against moto, which checks signatures, and against endpoints that misbehave."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import Fetched, Sources, s3_login, s3_source
from alaas_workers.sources.object_store import STORES
from tests.support.s3_server import S3Server
from tests.support.source_configs import QUICK, personal, public
from tests.support.web_server import Request, WebServer, answer

Outcome = bytes | SampleCode
DATED = {"ETag": '"x"', "Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


def outcomes(config: Config, *uris: str) -> list[Outcome]:
    sources = Sources(config)
    try:
        return [r.data if isinstance(r, Fetched) else r.sample_code for r in sources.fetch_all(uris, "me")]
    finally:
        sources.close()


def listing(config: Config, prefix: str) -> list[list[tuple[str, str]]] | SampleCode:
    sources = Sources(config)
    try:
        return [[(listed.uri, listed.version) for listed in page] for page in sources.pages(prefix, "me")]
    except SampleError as error:
        return error.sample_code
    finally:
        sources.close()


def at(endpoint: str, folder: Path, **s3: Any) -> Config:
    """Whole-bucket rights at an endpoint that is no store."""
    settings = {"endpoint": endpoint, "region": "us-east-1", "allow": ["bucket"]} | s3
    return personal(folder, max_sample_bytes=100_000, s3=settings)


ENDLESS = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated><Contents><Size>1</Size></Contents>
<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"""


class TestKeys:
    @pytest.mark.parametrize(
        "key",
        ["a b.jpg", "100%.jpg", "p%41.jpg", "\u2603.jpg", "x//y.jpg", "/lead", "tail/", "q?x#y&z=1+2", "back\\slash",
         "[x]{y}^`|<>\"'~", "+", "a=b;c,d@e:f!$&()*"],
    )  # fmt: skip
    def test_a_key_is_taken_letter_by_letter(self, key: str, aws: S3Server, tmp_path: Path) -> None:
        aws.put("odd-keys", {key: key.encode()})
        assert outcomes(personal(tmp_path, s3=aws.settings("odd-keys")), f"s3://odd-keys/{key}") == [key.encode()]

    def test_a_key_with_an_empty_part_is_not_its_neighbour(self, aws: S3Server, tmp_path: Path) -> None:
        aws.put("neighbours", {"a": b"other", "x/y": b"other"})
        config = personal(tmp_path, s3=aws.settings("neighbours"))
        uris = ["s3://neighbours//a", "s3://neighbours/a/", "s3://neighbours/x//y", "s3://neighbours/"]
        assert outcomes(config, *uris) == [SampleCode.NOT_FOUND] * 4

    def test_a_missing_bucket_is_not_found(self, aws: S3Server, tmp_path: Path) -> None:
        config = personal(tmp_path, s3=aws.settings("*"))
        assert outcomes(config, "s3://no-such-bucket/a", "s3://no-such-bucket//a") == [SampleCode.NOT_FOUND] * 2
        assert listing(config, "s3://no-such-bucket/") is SampleCode.NOT_FOUND

    def test_the_exact_way_holds_to_the_limits_too(self, aws: S3Server, tmp_path: Path) -> None:
        aws.put("limits", {"/full": b"x" * 10, "/large": b"x" * 11, "/empty": b""})
        config = personal(tmp_path, max_sample_bytes=10, s3=aws.settings("limits"))
        found = outcomes(config, *(f"s3://limits//{name}" for name in ("full", "large", "empty")))
        assert found == [b"x" * 10, SampleCode.TOO_LARGE, SampleCode.EMPTY]


class TestAllowList:
    ALLOWED = ("s3://store/pool/a", "s3://store/pool/deep/a")
    REFUSED = ("s3://store/a", "s3://store/pool-not/a", "s3://store/Pool/a", "s3://other/pool/a",
               "s3://store//pool/a")  # fmt: skip

    @pytest.fixture(autouse=True)
    def objects(self, aws: S3Server) -> None:
        for bucket in ("store", "other"):
            aws.put(bucket, {key: b"x" for key in ("a", "pool/a", "pool/deep/a", "pool-not/a", "Pool/a", "/pool/a")})

    def test_without_a_list_nothing_is_read_not_even_on_ones_own_machine(self, aws: S3Server, tmp_path: Path) -> None:
        for make in (personal, public):
            assert outcomes(make(tmp_path, s3=aws.settings()), "s3://store/a") == [SampleCode.NOT_ALLOWED]
            assert listing(make(tmp_path, s3=aws.settings()), "s3://store/") is SampleCode.NOT_ALLOWED

    @pytest.mark.parametrize("entry", ["store/pool", "store/pool/"])
    def test_a_prefix_opens_what_lies_beneath_it_alone(self, entry: str, aws: S3Server, tmp_path: Path) -> None:
        config = public(tmp_path, s3=aws.settings(entry))
        assert outcomes(config, *self.ALLOWED) == [b"x"] * 2
        assert outcomes(config, *self.REFUSED) == [SampleCode.NOT_ALLOWED] * len(self.REFUSED)

    def test_a_listing_is_held_to_it_too(self, aws: S3Server, tmp_path: Path) -> None:
        config = public(tmp_path, s3=aws.settings("store/pool"))
        assert len(listing(config, "s3://store/pool/")[0]) == 2
        for prefix in ("s3://store/", "s3://store/pool-not/", "s3://store//pool/", "s3://other/pool/"):
            assert listing(config, prefix) is SampleCode.NOT_ALLOWED

    def test_a_star_opens_every_bucket(self, aws: S3Server, tmp_path: Path) -> None:
        assert outcomes(public(tmp_path, s3=aws.settings("*")), "s3://store/a", "s3://other/a") == [b"x"] * 2

    def test_no_part_of_dots_leads_out(self, aws: S3Server, tmp_path: Path) -> None:
        config = public(tmp_path, s3=aws.settings("store/pool"))
        uris = ["s3://store/pool/../a", "s3://store/pool/./../a", "s3://store/pool/..", "s3://store/pool/../../other/a"]
        assert outcomes(config, *uris) == [SampleCode.BAD_URI] * 4

    def test_what_is_not_allowed_is_not_asked_for(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"x", **DATED)}) as canary:
            config = at(canary.uri(""), tmp_path, allow=["bucket/pool"])
            assert outcomes(config, "s3://bucket/a", "s3://bucket//a") == [SampleCode.NOT_ALLOWED] * 2
            assert canary.requests == []


class TestListing:
    def test_it_comes_page_by_page_in_order_with_versions(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_source, "PAGE", 10)
        names = [f"pool/{number:02}" for number in range(25)]
        aws.put("paged", {name: name.encode() for name in reversed(names)} | {"other": b"x", "pool/": b""})
        config = personal(tmp_path, s3=aws.settings("paged"))
        pages = listing(config, "s3://paged/pool/")
        assert isinstance(pages, list) and all(len(page) <= 10 for page in pages)
        assert [uri for page in pages for uri, _ in page] == [f"s3://paged/{name}" for name in names]
        assert listing(config, "s3://paged/pool/") == pages

    @pytest.mark.slow
    def test_2500_objects_come_in_three_pages(self, aws: S3Server, tmp_path: Path) -> None:
        aws.put("many", {f"{number:04}": b"x" for number in range(2500)})
        pages = listing(personal(tmp_path, s3=aws.settings("many")), "s3://many/")
        assert isinstance(pages, list) and [len(page) for page in pages] == [1000, 1000, 500]
        assert [uri for page in pages for uri, _ in page] == [f"s3://many/{number:04}" for number in range(2500)]

    def test_what_it_lists_is_read_under_the_version_that_it_tells(self, aws: S3Server, tmp_path: Path) -> None:
        aws.put("versions", {"a b": b"1", "x//y": b"2", "\u2603%41": b"3"})
        config = personal(tmp_path, s3=aws.settings("versions"))
        pages, sources = listing(config, "s3://versions/"), Sources(config)
        assert isinstance(pages, list)
        read = sources.fetch_all([uri for uri, _ in pages[0]], "me")
        sources.close()
        assert (
            [r.version for r in read if isinstance(r, Fetched)] == [version for _, version in pages[0]] != ["", "", ""]
        )

    def test_an_object_that_changes_changes_its_version(self, aws: S3Server, tmp_path: Path) -> None:
        config = personal(tmp_path, s3=aws.settings("changing"))
        aws.put("changing", {"a": b"first"})
        before = listing(config, "s3://changing/")
        aws.put("changing", {"a": b"second"})
        assert listing(config, "s3://changing/") != before
        assert outcomes(config, "s3://changing/a") == [b"second"]

    def test_a_key_that_no_uri_can_name_is_left_out_and_counted_in_the_log(
        self, aws: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        aws.put("unnamed", {"a": b"x", "tab\tbed": b"x", "x/../a": b"x"})
        pages = listing(personal(tmp_path, s3=aws.settings("unnamed")), "s3://unnamed/")
        assert isinstance(pages, list) and [[uri for uri, _ in page] for page in pages] == [["s3://unnamed/a"]]
        assert "left out 2 keys" in caplog.text

    def test_an_empty_prefix_is_not_found(self, aws: S3Server, tmp_path: Path) -> None:
        aws.put("empty", {"folder/": b""})
        config = personal(tmp_path, s3=aws.settings("empty"))
        assert listing(config, "s3://empty/folder/") is SampleCode.NOT_FOUND
        assert listing(config, "s3://empty/none/") is SampleCode.NOT_FOUND

    @pytest.mark.parametrize(
        ("route", "code"),
        [
            (answer(b"no xml"), SampleCode.REMOTE_ERROR),
            (answer(ENDLESS), SampleCode.NOT_FOUND),
            (answer(b"<a/>", "403 Forbidden"), SampleCode.FORBIDDEN),
            (answer(b"", "500 Oops"), SampleCode.REMOTE_ERROR),
            (lambda request: request.stopping.wait(), SampleCode.UNREACHABLE),
        ],
        ids=["garbage", "endless", "forbidden", "broken", "stalling"],
    )
    def test_an_endpoint_that_misbehaves_gets_a_fixed_code(
        self, route: Any, code: SampleCode, aws: S3Server, tmp_path: Path
    ) -> None:
        with WebServer({"*": route}) as server:
            assert listing(at(server.uri(""), tmp_path, **QUICK), "s3://bucket/") is code


@pytest.fixture(scope="module")
def strict() -> Iterator[S3Server]:
    """Its own moto, which checks signatures."""
    with S3Server() as server:
        server.put("private", {"a": b"bytes", "/a": b"bytes"})
        server.check_credentials()
        yield server


class TestCredentials:
    @pytest.fixture
    def environment(self, aws: S3Server, strict: S3Server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        for name, value in strict.environment.items():
            monkeypatch.setenv(name, value)
        return monkeypatch

    @pytest.fixture
    def config(self, strict: S3Server, tmp_path: Path) -> Config:
        return personal(tmp_path, s3=strict.settings("private"))

    def test_those_of_the_environment_open_the_bucket(
        self, environment: pytest.MonkeyPatch, config: Config, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            assert outcomes(config, "s3://private/a", "s3://private//a") == [b"bytes"] * 2
        assert "AKIA" not in caplog.text

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_wrong_ones_are_forbidden_and_not_told(
        self, name: str, environment: pytest.MonkeyPatch, config: Config, caplog: pytest.LogCaptureFixture
    ) -> None:
        environment.setenv(name, "wrong-word")
        uris = ["s3://private/a", "s3://private//a", "s3://private/none"]
        with caplog.at_level(logging.DEBUG, logger="alaas_workers"):
            assert outcomes(config, *uris) == [SampleCode.FORBIDDEN] * 3
            assert listing(config, "s3://private/") is SampleCode.FORBIDDEN
        assert "wrong-word" not in caplog.text

    def test_none_is_forbidden_at_once_and_said_once(
        self, environment: pytest.MonkeyPatch, config: Config, caplog: pytest.LogCaptureFixture
    ) -> None:
        environment.delenv("AWS_ACCESS_KEY_ID")
        assert outcomes(config, *["s3://private/a"] * 200) == [SampleCode.FORBIDDEN] * 200
        assert caplog.text.count("there are no credentials") == 1

    def test_a_profile_gives_its_own_and_its_endpoint(
        self, environment: pytest.MonkeyPatch, strict: S3Server, tmp_path: Path
    ) -> None:
        key, secret = strict.keys
        profile = f"[profile p]\naws_access_key_id={key}\naws_secret_access_key={secret}\nendpoint_url={strict.url}\n"
        (tmp_path / "aws").write_text(profile)
        environment.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            environment.setenv(name, "of-another")  # which must not be mixed in
        config = personal(tmp_path, s3={"profile": "p", "allow": ["private"]})
        assert outcomes(config, "s3://private/a") == [b"bytes"]

    def test_a_profile_that_is_not_there_is_said(self, aws: S3Server, tmp_path: Path) -> None:
        sources = Sources(personal(tmp_path, s3=aws.settings("*", profile="nobody")))
        (result,) = sources.fetch_all(["s3://bucket/a"], "me")
        sources.close()
        assert isinstance(result, SampleError) and result.sample_code is SampleCode.UNKNOWN_SCHEME
        assert "sources.s3.profile" in result.detail

    def test_anonymous_signs_nothing(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"x", **DATED)}) as server:
            config = at(server.uri(""), tmp_path, anonymous=True)
            assert outcomes(config, "s3://bucket/a", "s3://bucket//a") == [b"x"] * 2
            assert not any("authorization" in request.head.lower() for request in server.requests)

    def test_those_that_expire_are_renewed(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "program.py"
        program.write_text(
            "import datetime, json, pathlib\n"
            f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
            "with count.open('a') as file:\n    file.write('x')\n"
            "soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)\n"
            "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{count.stat().st_size}', 'SecretAccessKey': 's',"
            " 'Expiration': soon.isoformat()}))\n"
        )
        _use_program(monkeypatch, tmp_path, f"{sys.executable} {program}")
        monkeypatch.setattr(s3_login, "KEEP_S", 0.0)
        with WebServer({"*": answer(b"x", **DATED)}) as server:
            sources = Sources(at(server.uri(""), tmp_path))
            for _ in range(3):
                assert isinstance(sources.fetch_all(["s3://bucket/a"], "me")[0], Fetched)
            sources.close()
        used = [request.head.partition("Credential=")[2].partition("/")[0] for request in server.requests]
        assert len(set(used)) == 3 and all(word.startswith("KEY") for word in used)

    def test_a_lookup_that_hangs_costs_a_chunk_its_time_once(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _use_program(monkeypatch, tmp_path, f'{sys.executable} -c "import time; time.sleep(3)"')
        monkeypatch.setattr(s3_login, "LOOKUP_S", 0.3)
        started = time.monotonic()
        found = outcomes(at("http://127.0.0.1:9", tmp_path), *["s3://bucket/a"] * 100)
        assert found == [SampleCode.UNREACHABLE] * 100
        assert time.monotonic() - started < 3.0

    def test_a_chunk_that_is_given_up_leaves_the_lookup_to_the_others(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = json.dumps({"Version": 1, "AccessKeyId": "KEY", "SecretAccessKey": "s"})
        (tmp_path / "program.py").write_text(f"import time\ntime.sleep(0.5)\nprint({keys!r})\n")
        _use_program(monkeypatch, tmp_path, f"{sys.executable} {tmp_path / 'program.py'}")

        async def one_of_two(endpoint: str) -> bytes:
            source = s3_source.S3Source(at(endpoint, tmp_path))
            given_up, other = (asyncio.create_task(source.fetch("s3://bucket/a", "me")) for _ in range(2))
            await asyncio.sleep(0.1)
            given_up.cancel()
            return (await other).data

        with WebServer({"*": answer(b"x", **DATED)}) as server:
            assert asyncio.run(one_of_two(server.uri(""))) == b"x"


def _use_program(monkeypatch: pytest.MonkeyPatch, folder: Path, command: str) -> None:
    """Credentials come from what a program prints."""
    (folder / "aws").write_text(f"[default]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "aws"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


class TestMetadataServices:
    @pytest.fixture
    def metadata(self, aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
        """A machine with a role and no other credentials."""
        role = {"Code": "Success", "AccessKeyId": "ROLE", "SecretAccessKey": "s", "Token": "t"}
        role["Expiration"] = "2099-01-01T00:00:00Z"
        routes: dict[str, Any] = {
            "/latest/api/token": answer(b"token"),
            "/latest/meta-data/iam/security-credentials/": answer(b"reader"),
            "/latest/meta-data/iam/security-credentials/reader": answer(json.dumps(role).encode()),
        }
        with WebServer(routes) as server:
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.uri("/"))
            monkeypatch.setenv("AWS_DEFAULTS_MODE", "auto")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.delenv(name)
            yield server

    @pytest.mark.parametrize("anonymous", [False, True])
    def test_they_are_not_asked_unless_the_operator_wants_roles(
        self, anonymous: bool, metadata: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.uri("/container"))
        with WebServer({"*": answer(b"x", **DATED)}) as store:
            found = outcomes(at(store.uri(""), tmp_path, anonymous=anonymous, region=None), "s3://bucket/a")
        assert found == [b"x" if anonymous else SampleCode.FORBIDDEN]
        assert metadata.requests == []

    def test_the_machines_role_is_taken_where_he_does(self, metadata: WebServer, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"x", **DATED)}) as store:
            assert outcomes(at(store.uri(""), tmp_path, roles=True), *["s3://bucket/a"] * 50) == [b"x"] * 50
        assert all("Credential=ROLE/" in request.head for request in store.requests)
        assert len(metadata.requests) == 3

    def test_one_that_does_not_answer_is_waited_for_once(self, metadata: WebServer, tmp_path: Path) -> None:
        metadata.routes.clear()
        metadata.routes["*"] = silence
        started = time.monotonic()
        found = outcomes(at("http://127.0.0.1:9", tmp_path, roles=True), *["s3://bucket/a"] * 100)
        assert found == [SampleCode.FORBIDDEN] * 100
        assert time.monotonic() - started < 8.0 and len(metadata.requests) <= 2


def drip(request: Request) -> None:
    request.send(answer(b"", Content_Length="1000", **DATED))
    while not request.stopping.wait(0.05):
        request.send(b"x")


def silence(request: Request) -> None:
    request.stopping.wait()


def hang_up_in_body(request: Request) -> None:
    request.send(answer(b"x" * 10, Content_Length="2000", **DATED))
    request.closing = True


def garbage(request: Request) -> None:
    request.send(b"\x00\xff\r\n\r\n")
    request.closing = True


def without_length(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not request.stopping.is_set():
        request.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


STALE = b"<Error><Code>ExpiredToken</Code></Error>"
FAULTS: dict[str, tuple[bytes | Callable[[Request], None], SampleCode, int]] = {
    "drips beyond the total time": (drip, SampleCode.UNREACHABLE, 1),
    "never answers": (silence, SampleCode.UNREACHABLE, 2),
    "resets": (Request.reset, SampleCode.REMOTE_ERROR, 2),
    "promises more than it sends": (hang_up_in_body, SampleCode.REMOTE_ERROR, 2),
    "speaks something else": (garbage, SampleCode.REMOTE_ERROR, 1),
    "gives no length and never ends": (without_length, SampleCode.REMOTE_ERROR, 1),
    "promises too much": (answer(b"x", Content_Length="100001", **DATED), SampleCode.TOO_LARGE, 1),
    "is broken": (answer(b"secret", "500 Oops"), SampleCode.REMOTE_ERROR, 2),
    "is busy": (answer(b"<Code>SlowDown</Code>", "503 Slow Down"), SampleCode.REMOTE_ERROR, 2),
    "is in another region": (answer(b"", "301 Moved"), SampleCode.REMOTE_ERROR, 1),
    "refuses": (answer(b"", "400 Bad Request"), SampleCode.REMOTE_ERROR, 1),
    "tells of an expired token": (answer(STALE, "400 Bad Request"), SampleCode.FORBIDDEN, 1),
    "asks for a login": (answer(b"", "401 Unauthorized"), SampleCode.FORBIDDEN, 1),
    "tells a date that is none": (answer(b"x", Last_Modified="soon"), SampleCode.REMOTE_ERROR, 1),
}


class TestEndpoints:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_one_that_misbehaves_gets_a_fixed_code_in_time(self, fault: str, aws: S3Server, tmp_path: Path) -> None:
        route, code, tries = FAULTS[fault]
        with WebServer({"/bucket/a": route, "/bucket/b": answer(b"fine", **DATED)}) as server:
            started = time.monotonic()
            assert outcomes(at(server.uri(""), tmp_path, **QUICK), "s3://bucket/a", "s3://bucket/b") == [code, b"fine"]
            assert time.monotonic() - started < 5.0
            assert server.paths.count("/bucket/a") == tries

    def test_a_part_of_an_object_is_never_taken_for_the_whole(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": hang_up_in_body}) as server:
            found = outcomes(at(server.uri(""), tmp_path, **QUICK), "s3://bucket/a", "s3://bucket//a")
            assert found == [SampleCode.REMOTE_ERROR] * 2

    def test_one_that_is_not_there_is_unreachable(self, aws: S3Server, tmp_path: Path) -> None:
        for endpoint in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
            config = at(endpoint, tmp_path)
            assert outcomes(config, "s3://bucket/a", "s3://bucket//a") == [SampleCode.UNREACHABLE] * 2

    def test_no_credentials_follow_a_redirect_to_another_host(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"other", **DATED)}) as other:
            with WebServer({"*": answer(b"", "307 Elsewhere", Location=other.uri("/x"))}) as server:
                outcomes(at(server.uri(""), tmp_path), "s3://bucket/a")
                assert "authorization" in server.requests[0].head.lower()
            assert not any("authorization" in request.head.lower() for request in other.requests)

    def test_the_environment_does_not_replace_the_configured_one(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws.put("configured", {"a": b"x"})
        with WebServer({}) as other:
            for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
                monkeypatch.setenv(name, other.uri(""))
            assert outcomes(personal(tmp_path, s3=aws.settings("configured")), "s3://configured/a") == [b"x"]
            assert other.requests == []

    def test_a_million_buckets_are_not_kept_open(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"x", **DATED)}) as server:
            uris = [f"s3://bucket-{number}/a" for number in range(3 * STORES)]
            config = at(server.uri(""), tmp_path, allow=["*"])
            source = s3_source.S3Source(config)
            asyncio.run(_read_all(source, uris))
            assert source._store.cache_info().currsize == STORES

    def test_variables_of_obstores_own_change_nothing(
        self, aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = {"AWS_BUCKET": "other", "AWS_BUCKET_NAME": "other", "AWS_REGION": "of-another", "AWS_TOKEN": "other",
                  "AWS_SKIP_SIGNATURE": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}  # fmt: skip
        for name, value in others.items():
            monkeypatch.setenv(name, value)
        with WebServer({"/bucket/a": answer(b"x", **DATED)}) as server:
            assert outcomes(at(server.uri(""), tmp_path), "s3://bucket/a") == [b"x"]
            head = server.requests[0].head
        assert "/us-east-1/s3/" in head and "other" not in head

    def test_connections_are_kept(self, aws: S3Server, tmp_path: Path) -> None:
        with WebServer({"*": answer(b"x", **DATED)}) as server:
            outcomes(at(server.uri(""), tmp_path), *(f"s3://bucket/{number}" for number in range(300)))
            assert server.connections <= 20


async def _read_all(source: s3_source.S3Source, uris: list[str]) -> None:
    for uri in uris:
        assert (await source.fetch(uri, "me")).data == b"x"
    await source.close()


def test_a_source_that_is_switched_off_is_unknown(tmp_path: Path) -> None:
    assert outcomes(personal(tmp_path, s3={"enabled": False}), "s3://b0/a") == [SampleCode.UNKNOWN_SCHEME]
