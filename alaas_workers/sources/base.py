"""What every source is: the interface that `Sources` calls and that tests/contracts/test_sources.py checks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from alaas.config import Config


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of one sample (never none), and the version that they are of."""

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One sample that a listing found, and its version where the listing tells it (else "")."""

    uri: str
    version: str


class Source(Protocol):
    """Reads the URIs of some schemes. Made once per process; all `fetch` calls run on one event loop.

    `owner` is whose job asks; a source that serves the same bytes to everybody ignores it.
    """

    def __init__(self, config: Config) -> None: ...

    def version(self, uri: str, owner: str) -> str:
        """A word that changes with the content, or "" where none is cheap or nothing is there. Never raises."""

    async def fetch(self, uri: str, owner: str) -> Fetched:
        """Read `uri` once, stopping at `sources.max_sample_bytes`.

        Raises SampleError, or TransientSampleError where another try may help. `version` is that of these bytes.
        """

    async def close(self) -> None:
        """Let go of connections and threads."""


@runtime_checkable
class ListingSource(Source, Protocol):
    """A source that can tell what lies beneath a prefix."""

    def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        """The files beneath `prefix`, a URI that ends in "/", with all folders in it; a bounded page at a time.

        A page may be empty: whoever asked has to hear now and then that a listing without files goes on.
        Raises SampleError as `fetch` does: NOT_FOUND where nothing is there, FORBIDDEN, NOT_ALLOWED, UNREACHABLE.
        """
