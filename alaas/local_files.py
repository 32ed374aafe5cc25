"""The user's own files in a push: read in place when the server sees the very same file, else sent up once by hash.

A file that cannot be read or sent does not stop the push: its URI goes as it is, and the report lists it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from alaas.errors import InvalidRequest
from alaas.progress import UploadBar
from alaas.transport import Http

logger = logging.getLogger(__name__)
BATCH = 1000  # files asked about in one request
SENDERS = 4  # files on their way up at once
PIECE_BYTES = 1024 * 1024
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters at least: C:\ is a path


def local_path(uri: str) -> Path | None:
    """The path on this machine that `uri` names, absolute; None for the URI of something elsewhere."""
    scheme = _SCHEME.match(uri)
    if scheme is not None and scheme[1].lower() == "file":
        parts = urlsplit(uri)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") and parts.path else None
    if scheme is not None and ("://" in uri or not os.path.lexists(uri)):
        return None
    return Path(os.path.abspath(uri))


def sent_uris(
    http: Http, uris: Iterable[str], *, in_place: bool = True, progress: bool | None = None
) -> Iterator[tuple[str, str]]:
    """Pairs of each URI as given and as the server will know it, in order; uploads on the way.

    `in_place` False uploads every local file, also one that the server could read itself.
    """
    remaining = iter(uris)
    with UploadBar(progress) as bar:
        while batch := list(islice(remaining, BATCH)):
            paths = {uri: path for uri in batch if (path := local_path(uri)) is not None}
            known = {uri: path.as_uri() for uri, path in paths.items()}
            files = {uri: size for uri, path in paths.items() if (size := _size_and_mtime(path)) is not None}
            if in_place and files:
                readable = _readable(http, known, files)
                files = {uri: size for uri, size in files.items() if uri not in readable}
            known |= _upload(http, {uri: (paths[uri], size) for uri, (size, _) in files.items()}, bar)
            for uri in batch:
                yield uri, known.get(uri, uri)


def _size_and_mtime(path: Path) -> tuple[int, int] | None:
    """In bytes and nanoseconds; None for what is no regular file or is not there."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _readable(http: Http, known: dict[str, str], files: dict[str, tuple[int, int]]) -> set[str]:
    asked = [
        {"uri": known[uri], "size_bytes": size_bytes, "mtime_ns": mtime_ns}
        for uri, (size_bytes, mtime_ns) in files.items()
    ]
    answer = http.post("/v1/files/readable", dict[str, list[bool]], {"files": asked})
    return {uri for uri, readable in zip(files, answer.get("readable", []), strict=False) if readable}


def _upload(http: Http, files: dict[str, tuple[Path, int]], bar: UploadBar) -> dict[str, str]:
    """Send the bytes that the server lacks; the upload URI of each file that could be read."""
    if not files:
        return {}
    with ThreadPoolExecutor(SENDERS) as senders:
        hashes = senders.map(lambda file: _sha256(file[0]), files.values())
        by_uri = {uri: sha for uri, sha in zip(files, hashes, strict=True) if sha is not None}
        by_hash = {sha: files[uri] for uri, sha in by_uri.items()}
        if by_hash:
            answer = http.post("/v1/uploads/missing", dict[str, list[str]], {"sha256": list(by_hash)})
            missing = [sha for sha in answer.get("missing", []) if sha in by_hash]
            bar.expect(sum(by_hash[sha][1] for sha in missing))
            for _ in senders.map(lambda sha: _put(http, sha, *by_hash[sha], bar), missing):
                pass
    return {uri: f"upload://{sha}" for uri, sha in by_uri.items()}


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        logger.warning("%s: cannot be read (%s); the report will list it", path, error.strerror)
        return None


def _put(http: Http, sha256: str, path: Path, size_bytes: int, bar: UploadBar) -> None:
    try:
        octets = "application/octet-stream"
        http.send("PUT", f"/v1/uploads/{sha256}", Any, lambda: _pieces(path, size_bytes), size_bytes, octets)
    except (InvalidRequest, OSError) as error:
        logger.warning("%s: not sent up (%s); the report will list it", path, error)
    bar.advance(size_bytes)


def _pieces(path: Path, size_bytes: int) -> Iterator[bytes]:
    """Raises OSError where the file has another size by now, since that of the body is promised before."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            size_bytes -= len(piece)
            if size_bytes < 0:
                break
            yield piece
    if size_bytes:
        raise OSError("its size changed while it was read")
