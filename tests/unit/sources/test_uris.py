from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import check_uri, upload_path
from alaas_workers.sources.http_source import parse_url
from alaas_workers.sources.uris import FtpPlace, FtpServer, data_content, ftp_place, ftp_uri, local_path
from tests.support.source_configs import personal

CONFIG = personal(Path("/nowhere"))
DIGEST = "ab" * 32

READ = [
    "/data/a.jpg",
    "/data/a b%41#?.jpg",
    "file:///data/a.jpg",
    "file:/data/a.jpg",
    "FILE://localhost/data/a%20b.jpg",
    "http://example.org",
    "http://example.org/a b.jpg",
    "HTTPS://example.org:8443/a.jpg?X-Amz-Signature=1%2F2&x=@#part",
    "http://bücher.example/ä.jpg",
    "http://[2606:4700::1]:80/a",
    "http://2130706433/",  # its address is judged when it is opened
    f"upload://{DIGEST}",
    "ftp://example.org",
    "ftp://example.org/pool/",
    "FTPS://example.org:990/a%20b%3F.jpg",
    "ftp://example.org//data/a.jpg",
    "ftp://example.org/%2Fdata/a.jpg",
    "ftp://[2606:4700::1]/caf%E9..jpg",
    "data:,",
    "s3://bucket/a b%41\u2603?#//c",
    "S3://my.bucket_1/",
    "data:,caf%C3%A9%0A100%25",
    "DATA:text/plain;charset=utf-8;BASE64,AAE=",
    "data:image/png;base64,AA%3D%3D",
    "data:text/plain;charset=utf-8;name=a%2Cb,a,b;base64",
]
BAD = [
    "",
    " ",
    "a.jpg",
    "./a.jpg",
    "//example.org/a.jpg",
    "http:",
    "http://",
    "http:///a.jpg",
    "http:/example.org/a.jpg",
    " http://example.org/",
    "http://user@example.org/",
    "http://user:secret@example.org/",
    "http://:@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org%40127.0.0.1/",
    "http://exa mple.org/",
    "http://example.org:0/",
    "http://example.org:99999/",
    "http://example.org:80:80/",
    "http://example.org:x/",
    "http://[::1/",
    "http://[fe80::1%25lo]/",
    "http://example.org/\r\nHost: other",
    "http://example.org/\x00",
    "http://example.org/\ud800",
    "http://example.org/" + "a" * 4096,
    "file://",
    "file:a.jpg",
    "file://example.org/etc/hostname",
    "file:///a.jpg?x",
    "file:///a.jpg#x",
    "file:///a%00.jpg",
    "/data/a\n.jpg",
    "ftp:",
    "ftp:///a.jpg",
    "ftp://user:secret@example.org/a.jpg",
    "ftp://user@example.org/a.jpg",
    "ftp://example.org:0/a.jpg",
    "ftp://example.org:65536/a.jpg",
    "ftp://example.org/a.jpg?x",
    "ftp://example.org/a.jpg#x",
    "ftp://example.org/a%0D%0ADELE%20b",
    "ftp://example.org/a%7F",
    "ftp://example.org/..",
    "ftp://example.org/./a.jpg",
    "ftp://example.org/a/%2E%2e/b.jpg",
    "ftp://example.org/a\\..\\b.jpg",
    "ftp://example.org/a//b.jpg",
    "ftp://example.org///a.jpg",
    "upload://",
    "upload://" + DIGEST[:-1],
    "upload://" + DIGEST.upper(),
    f"upload://{DIGEST}/../x",
    "s3://bucket",
    "s3:///key",
    "s3://key:secret@bucket/a",
    "s3://bucket:443/a",
    "s3://../a",
    "s3://bucket/../other/a",
    "s3://bucket/a/./b",
    "s3://bucket/a/..",
    "s3://bucket%2Fb/a",
    "data:",
    "data:text/plain",
    "data:,a b",
    "data:,caf\u00e9",
    "data:,a#b",
    "data:,100%",
    "data:,%G0",
    "data:,a\nb",
    "data:caf\u00e9,a",
    "data:,\uff11",
    "data:;base64,A",
    "data:;base64,AAA",
    "data:;base64,AAE=AAE=",
    "data:;base64,AA-_",
    "data:;base64,A%20AE",
    "data:," + "a" * 4096,
]
UNKNOWN = ["s3a://bucket/a.jpg", "gopher://x", "data+x:,a", "C:\\a.jpg",
           "simplecache::file:///etc/hostname"]  # fmt: skip


@pytest.mark.parametrize("uri", READ)
def test_what_a_source_can_read_passes(uri: str) -> None:
    assert check_uri(uri, CONFIG) is None


@pytest.mark.parametrize("uri", BAD)
def test_what_is_no_uri_or_holds_credentials_is_a_bad_uri(uri: str) -> None:
    assert check_uri(uri, CONFIG) is SampleCode.BAD_URI


@pytest.mark.parametrize("uri", UNKNOWN)
def test_a_scheme_without_source_is_unknown(uri: str) -> None:
    assert check_uri(uri, CONFIG) is SampleCode.UNKNOWN_SCHEME


def test_a_source_that_is_switched_off_is_unknown() -> None:
    config = personal(Path("/nowhere"), http={"enabled": False})
    assert check_uri("https://example.org/", config) is SampleCode.UNKNOWN_SCHEME
    assert check_uri("/data/a.jpg", config) is None


@settings(deadline=None)  # idna is imported at first use
@given(st.text() | st.from_regex(r"((https?|file|upload|ftps?)://|data:).*", fullmatch=True))
@example("http://[")
@example("http://\u2100/")
def test_no_text_breaks_the_check(uri: str) -> None:
    assert check_uri(uri, CONFIG) in (None, SampleCode.BAD_URI, SampleCode.UNKNOWN_SCHEME)


@settings(deadline=None)  # idna is imported at first use
@given(st.text() | st.from_regex(r"https?://[^/?#]*.*", fullmatch=True))
@example("http://a..b/")
@example("http://\u2488/")
@example("http://xn--/")
def test_parsing_an_http_uri_gives_a_host_without_credentials_or_a_bad_uri(uri: str) -> None:
    try:
        url = parse_url(uri)
    except SampleError as error:
        assert error.sample_code is SampleCode.BAD_URI
    else:
        assert url.raw_host and url.port and url.raw_user is None and url.raw_password is None
        assert url.scheme in ("http", "https")


def test_an_encoded_uri_is_asked_for_letter_by_letter() -> None:
    uri = "http://example.org/a%2Fb+c%7E?X-Amz-Credential=k%2F2026&sig=a%2Bb%3D"
    assert str(parse_url(uri)) == uri


def test_a_uri_that_is_not_encoded_is_encoded() -> None:
    assert str(parse_url("http://example.org/ä b.jpg")) == "http://example.org/%C3%A4%20b.jpg"


def test_a_file_uri_is_decoded_once_and_a_bare_path_never() -> None:
    assert local_path("file:///a%2520b") == "/a%20b"
    assert local_path("/a%20b") == "/a%20b"


@given(st.binary(max_size=1000))
def test_any_bytes_travel_in_a_data_uri(data: bytes) -> None:
    assert data_content("data:," + quote(data, safe="")) == data
    assert data_content("data:text/plain;base64," + b64encode(data).decode()) == data


def test_an_upload_lies_in_a_folder_of_its_owner(tmp_path: Path) -> None:
    config = personal(tmp_path)
    mine, yours = upload_path(config, "../me", DIGEST), upload_path(config, "you", DIGEST)
    assert mine != yours
    assert mine.parent.name == "ab" and mine.name == DIGEST
    assert mine.parents[2] == yours.parents[2] == config.uploads_dir


@pytest.mark.parametrize("digest", ["", "../" * 20, DIGEST[:-1], DIGEST + "\n", "g" * 64])
def test_an_upload_of_another_name_than_a_digest_has_no_path(digest: str, tmp_path: Path) -> None:
    with pytest.raises(SampleError):
        upload_path(personal(tmp_path), "me", digest)


@given(st.binary(max_size=40))
def test_an_ftp_path_survives_its_uri(path: bytes) -> None:
    place = FtpPlace(FtpServer(True, "example.org", 990), path)
    try:
        assert ftp_place(ftp_uri(place)) == place
    except SampleError:
        assert b".." in path or b"//" in path or b"." in path or min(path) < 32 or 127 in path
