"""What of a store may be read with the server's own rights: what the operator lists, and nothing without a list."""

from __future__ import annotations

from collections.abc import Sequence

from alaas.errors import SampleCode
from alaas_workers.sources.failures import failure


class AllowList:
    """Of `bucket`, `bucket/prefix` (with all folders beneath, or an object of that very name), or `*`."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._all = "*" in entries
        self._entries = frozenset(entry.rstrip("/") for entry in entries)

    def check(self, bucket: str, key: str) -> None:
        """Raises SampleError(NOT_ALLOWED). A prefix that ends in "/" stands for what lies beneath it."""
        if not self._all and not self._lists(f"{bucket}/{key}"):
            raise failure(SampleCode.NOT_ALLOWED)

    def _lists(self, path: str) -> bool:
        """Whether the path or a folder above it is listed; so `bucket/a` opens no `bucket/a-b`."""
        if path in self._entries:
            return True
        return any(path[:end] in self._entries for end, letter in enumerate(path) if letter == "/")
