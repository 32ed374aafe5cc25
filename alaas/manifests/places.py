"""What a row of a manifest names: a URI as it stands, or one relative to the manifest's own."""

from __future__ import annotations

import os
import re
from posixpath import normpath
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ is a path
_FILE = re.compile(r"(?i)file:(?://(?:localhost)?)?(?=/)")


def is_uri(text: str) -> bool:
    """Whether it begins with a scheme; else it is a path, or relative to something."""
    return _SCHEME.match(text) is not None


def place_of(manifest: str, value: str) -> str | None:
    """The URI that `value` stands for in the manifest at the URI `manifest`; None where it would leave its host.

    In a manifest on a disk, what is no URI is a path; elsewhere it is the rest of a URI, as it is written.
    """
    if is_uri(value) or value.startswith("/"):
        return value
    on_disk = _FILE.match(manifest)
    if on_disk or manifest.startswith("/"):
        file = unquote_to_bytes(manifest[on_disk.end() :]) if on_disk else os.fsencode(manifest)
        return "file://" + quote_from_bytes(os.path.normpath(os.path.join(os.path.dirname(file), os.fsencode(value))))
    host, path = _host_and_path(manifest)
    joined = (path.rpartition("/")[0] + "/").lstrip("/") + value
    if not {".", ".."}.isdisjoint(value.split("/")):  # else as it is written: a key may hold two slashes in a row
        joined = normpath(joined)
    return None if not host or joined == "." or joined.split("/")[0] == ".." else f"{host}/{joined}"


def _host_and_path(uri: str) -> tuple[str, str]:
    """`https://host:80` and `/a/b`; an empty host for what has none (upload:, data:)."""
    parts = urlsplit(uri)
    if parts.scheme.lower() in ("upload", "data") or not parts.netloc:
        return "", ""
    return f"{parts.scheme}://{parts.netloc}", parts.path
