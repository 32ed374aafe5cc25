"""Judges the text of a URI, before any source sees it. What its host or path stands for is judged at its opening."""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.failures import failure

MAX_CHARACTERS = 4096
# Control characters split requests and log lines; a lone surrogate has no UTF-8 form.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")
# No "@" (credentials), no "%" and "\" (read differently by different parsers), no blank.
_HTTP = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@%\\:\[\]]{1,255})(?::([0-9]{1,5}))?(?:[/?#].*)?", re.I)
_FTP = re.compile(r"(ftps?)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@%\\:\[\]]{1,255})(?::([0-9]{1,5}))?(?:/([^?#]*))?", re.I)
# CR and LF would end the command that holds the path; "\" parts folders too where the server runs on Windows.
_NO_FTP_PATH = re.compile(rb".*[\x00-\x1f\x7f].*|(?:.*[/\\])?\.{1,2}(?:[/\\].*)?|.*//.*", re.S)
_FILE = re.compile(r"(?i:file:(?://(?:localhost)?)?)(/(?!/)[^?#]*)")
_UPLOAD = re.compile(r"(?i:upload)://([0-9a-f]{64})")
# A key is taken letter by letter, as the stores' own tools do: "%", "?" and "#" are letters of it.
_BUCKET = re.compile(r"(?i:s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]{1,254})/(.*)")
_HUB_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_DATASET = re.compile(rf"(?i:hf)://datasets/({_HUB_WORD}/{_HUB_WORD})@([0-9a-f]{{40}})/(.*)")
# A blank, a "#" or a letter beyond ASCII means another thing to each reader, so they must be percent-encoded.
_DATA = re.compile(r"data:([!-\"$-+\--~]*?)(;base64)?,((?:[!-\"$&-~]|%[0-9A-Fa-f]{2})*)", re.I)


def scheme_of(uri: str) -> str:
    """The scheme in lower case; a bare absolute path is a file. Raises SampleError(BAD_URI)."""
    if len(uri) > MAX_CHARACTERS or _FORBIDDEN.search(uri):
        raise failure(SampleCode.BAD_URI)
    if uri.startswith("/") and not uri.startswith("//"):  # two slashes begin a host
        return "file"
    match = _SCHEME.match(uri)
    if match is None:
        raise failure(SampleCode.BAD_URI)
    return match[1].lower()


def http_host(uri: str) -> str:
    """The host of an http or https URI, as it is written. Raises SampleError(BAD_URI)."""
    match = _HTTP.fullmatch(uri)
    if match is None or (match[2] and not 0 < int(match[2]) <= 65535):
        raise failure(SampleCode.BAD_URI)
    return match[1]


def local_path(uri: str) -> str:
    """The absolute path that a file URI, or a bare path, stands for. Raises SampleError(BAD_URI).

    A bare path is taken letter by letter; in a URI, "?" and "#" must be percent-encoded.
    """
    if uri.startswith("/"):
        return uri
    match = _FILE.fullmatch(uri)
    if match is None:
        raise failure(SampleCode.BAD_URI)
    if "%" not in uri:
        return match[1]
    path = unquote_to_bytes(match[1])
    if b"\0" in path:
        raise failure(SampleCode.BAD_URI)
    return os.fsdecode(path)


def upload_digest(uri: str) -> str:
    """The SHA-256 in upload://<sha256>. Raises SampleError(BAD_URI)."""
    match = _UPLOAD.fullmatch(uri)
    if match is None:
        raise failure(SampleCode.BAD_URI)
    return match[1]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Of an s3, gs or az URI; an empty key is the whole bucket. Raises SampleError(BAD_URI).

    A part "." or ".." is refused: on the way to the store it could turn the key into another.
    """
    match = _BUCKET.fullmatch(uri)
    if match is None or not {".", ".."}.isdisjoint(match[2].split("/")):
        raise failure(SampleCode.BAD_URI)
    return match[1], match[2]


def bucket_and_plain_key(uri: str) -> tuple[str, str]:
    """Likewise, without empty parts, which obstore cannot ask for. Raises SampleError(BAD_URI)."""
    bucket, key = bucket_and_key(uri)
    if key and "" in key.removesuffix("/").split("/"):
        raise failure(SampleCode.BAD_URI)
    return bucket, key


def dataset_file(uri: str) -> tuple[str, str, str]:
    """Repository, commit and path of hf://datasets/owner/name@commit/path. Raises SampleError(BAD_URI).

    A branch or tag may mean other bytes tomorrow, so that only a whole commit (40 hexadecimal digits) names a sample.
    """
    match = _DATASET.fullmatch(uri)
    if match is None or (match[3] and not {"", ".", ".."}.isdisjoint(match[3].removesuffix("/").split("/"))):
        raise failure(SampleCode.BAD_URI)
    return match[1], match[2], match[3]


def is_uri(text: str, check: Callable[[str], object]) -> bool:
    """Whether a listing's name can be written as a URI that `check`, its scheme's, takes."""
    try:
        scheme_of(text)
        check(text)
    except SampleError:
        return False
    return True


def data_content(uri: str) -> bytes:
    """The bytes that stand in a data URI, percent-decoded, then from base64 where it says so.

    Raises SampleError(BAD_URI).
    """
    match = _DATA.fullmatch(uri)
    if match is None:
        raise failure(SampleCode.BAD_URI)
    content = unquote_to_bytes(match[3])
    try:
        return binascii.a2b_base64(content, strict_mode=True) if match[2] and content else content
    except binascii.Error:
        raise failure(SampleCode.BAD_URI) from None


class FtpServer(NamedTuple):
    """What a connection is made to and a login belongs to; the host as it is written, in lower case."""

    is_tls: bool
    host: str
    port: int


class FtpPlace(NamedTuple):
    """`path`: from the folder that the login begins in, or from the server's root where it begins with a slash."""

    server: FtpServer
    path: bytes


def ftp_place(uri: str) -> FtpPlace:
    """Where an ftp or ftps URI points. Raises SampleError(BAD_URI), also for credentials and for a path with "..".

    "?" and "#" must be percent-encoded; a second slash, or %2F, after the host begins at the server's root.
    """
    match = _FTP.fullmatch(uri)
    port = int((match and match[3]) or 21)
    path = unquote_to_bytes((match and match[4]) or "")
    if match is None or not 0 < port <= 65535 or _NO_FTP_PATH.fullmatch(path):
        raise failure(SampleCode.BAD_URI)
    return FtpPlace(FtpServer(match[1].lower() == "ftps", match[2].lower(), port), path)


def ftp_uri(place: FtpPlace) -> str:
    """The URI of which `ftp_place` gives `place`."""
    server = place.server
    port = "" if server.port == 21 else f":{server.port}"
    return f"{'ftps' if server.is_tls else 'ftp'}://{server.host}{port}/{quote(place.path)}"
