"""A list of URIs of any length as one request body: written once, to disk when it grows, and read again at each try."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType

NDJSON_TYPE = "application/x-ndjson"
IN_MEMORY_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 256 * 1024


class UriLines:
    """One JSON string a line. `digest` is the same for the same URIs in the same order."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)
        self.count = 0
        self.size_bytes = 0
        self._hash = hashlib.blake2b(digest_size=8)
        try:
            for uri in uris:
                self._write(json.dumps(uri).encode() + b"\n")
        except BaseException:
            self._file.close()
            raise

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def _write(self, line: bytes) -> None:
        self._hash.update(line)
        self._file.write(line)
        self.count += 1
        self.size_bytes += len(line)

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def __enter__(self) -> UriLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
