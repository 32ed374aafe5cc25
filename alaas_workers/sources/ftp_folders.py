"""Walks an FTP server's folders, a page of files, or of none, at a time; loops of links and made-up folders end it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import ftp_listing
from alaas_workers.sources.base import Listed
from alaas_workers.sources.failures import failure
from alaas_workers.sources.ftp_connection import Connection, wire
from alaas_workers.sources.ftp_listing import Entry
from alaas_workers.sources.uris import FtpPlace, FtpServer, ftp_place, ftp_uri, scheme_of

MAX_LISTING_BYTES = 64 * 1024 * 1024
"""Of one folder: half a million files."""

MAX_FOLDERS = 100_000
MAX_DEPTH = 32
PAGE = 1000


def entries_of(connection: Connection, folder: bytes) -> list[Entry]:
    """What is in one folder, which ends in "/" or is empty: where the login begins. Blocks; raises SampleError."""
    asked = wire(folder.rstrip(b"/") or folder)
    facts = connection.list_facts(asked, MAX_LISTING_BYTES)
    if facts is not None:
        return ftp_listing.from_facts(facts)
    return ftp_listing.from_lines(connection.list_lines(asked, MAX_LISTING_BYTES))


async def files_beneath(
    place: FtpPlace, entries_in: Callable[[bytes], Awaitable[list[Entry]]]
) -> AsyncGenerator[list[Listed]]:
    """Folder by folder, files before folders, each by name. Raises SampleError: NOT_FOUND where there is no file."""
    waiting, seen = [(place.path, 0)], set[str]()
    folders = 0
    has_files = False
    while waiting:
        folder, depth = waiting.pop()
        entries = await entries_in(folder)
        files = [entry for entry in entries if not entry.is_folder]
        for start in range(0, max(len(files), 1), PAGE):
            page = _listed(place.server, folder, files[start : start + PAGE])
            has_files = has_files or bool(page)
            yield page
        inner = [entry for entry in entries if entry.is_folder and _is_new(entry, seen)]
        inner = [entry for entry in inner if _is_readable(ftp_uri(FtpPlace(place.server, folder + entry.name)))]
        folders += len(inner)
        if inner and (depth == MAX_DEPTH or folders > MAX_FOLDERS):
            raise failure(SampleCode.REMOTE_ERROR)  # links in a loop, or a server that makes folders up
        waiting.extend((folder + entry.name + b"/", depth + 1) for entry in reversed(inner))
    if not has_files:
        raise failure(SampleCode.NOT_FOUND)


def _is_new(folder: Entry, seen: set[str]) -> bool:
    """False for one that was there under another name, as far as the server tells; else remembers it."""
    if folder.identity in seen:
        return False
    if folder.identity:
        seen.add(folder.identity)
    return True


def _listed(server: FtpServer, folder: bytes, files: Sequence[Entry]) -> list[Listed]:
    named = ((ftp_uri(FtpPlace(server, folder + entry.name)), entry.version) for entry in files)
    return [Listed(uri, version) for uri, version in named if _is_readable(uri)]


def _is_readable(uri: str) -> bool:
    """False for names that no URI of ours can carry: longer than one may be, or with "..\\" in them."""
    try:
        return scheme_of(uri) != "" and ftp_place(uri).path != b""
    except SampleError:
        return False
