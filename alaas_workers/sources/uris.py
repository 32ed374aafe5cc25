"""Judges the text of a URI, before any source sees it. What its host or path stands for is judged at its opening."""

from __future__ import annotations

import binascii
import os
import re
from urllib.parse import unquote_to_bytes

from alaas.errors import SampleCode
from alaas_workers.sources.failures import failure

MAX_CHARACTERS = 4096
# Control characters split requests and log lines; a lone surrogate has no UTF-8 form.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")
# No "@" (credentials), no "%" and "\" (read differently by different parsers), no blank.
_HTTP = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@%\\:\[\]]{1,255})(?::([0-9]{1,5}))?(?:[/?#].*)?", re.I)
_FILE = re.compile(r"(?i:file:(?://(?:localhost)?)?)(/(?!/)[^?#]*)")
_UPLOAD = re.compile(r"(?i:upload)://([0-9a-f]{64})")
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
