"""What an FTP server says that is in a folder, judged name by name: MLSD's facts, or the lines of LIST."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alaas.errors import SampleCode
from alaas_workers.sources.failures import failure

MAX_LINE_BYTES = 8192
MAX_ENTRIES = 1_000_000
"""Of one folder, which is held whole so that its order stays."""

# A name that leads elsewhere, or that no command could carry.
_NO_NAME = re.compile(rb"\.{1,2}|.*[/\x00-\x1f\x7f].*|", re.S)
_FACTS = re.compile(rb"(?:[^=; ]+=[^;]*;)* ")
_WORD = re.compile(r"[0-9.]{1,40}")
_UNIX = re.compile(
    rb"([a-zA-Z-])[rwxsStTl-]{9}[+.@]?\s+\d+\s+\S+\s+\S+\s+\d+(?:,\s*\d+)?\s+"
    rb"[A-Za-z]{3}\s+\d{1,2}\s+[\d:]{4,5} (.*)",
    re.S,
)
_DOS = re.compile(rb"\d\d-\d\d-\d\d(?:\d\d)?\s+\d\d:\d\d(?:[AP]M)?\s+(<DIR>|\d+)\s+(.*)", re.S)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder. `identity` is the same for one folder under two names; "" where the server tells none."""

    name: bytes
    is_folder: bool
    version: str = ""
    identity: str = ""


def from_facts(listing: bytes) -> list[Entry]:
    """The files and folders of an answer to MLSD, by name. Raises SampleError for one that is none."""
    return _by_name(_entry_of_facts(line) for line in _lines(listing))


def from_lines(listing: bytes) -> list[Entry]:
    """The files and folders of an answer to LIST, as Unix and DOS write it, by name; links are left out.

    Raises SampleError for a line that is neither: better no pool than half of one.
    """
    return _by_name(_entry_of_line(line) for line in _lines(listing) if not line.startswith(b"total "))


def _lines(listing: bytes) -> Iterator[bytes]:
    for line in io.BytesIO(listing):
        if len(line) > MAX_LINE_BYTES:
            raise failure(SampleCode.REMOTE_ERROR)
        if bare := line.rstrip(b"\r\n"):
            yield bare


def _by_name(entries: Iterable[Entry | None]) -> list[Entry]:
    good: dict[bytes, Entry] = {}
    for entry in entries:
        if entry is not None and not _NO_NAME.fullmatch(entry.name):
            good[entry.name] = entry
        if len(good) > MAX_ENTRIES:
            raise failure(SampleCode.TOO_LARGE)
    return [good[name] for name in sorted(good)]


def _entry_of_facts(line: bytes) -> Entry | None:
    match = _FACTS.match(line)
    if match is None:
        raise failure(SampleCode.REMOTE_ERROR)
    words = (fact.partition(b"=") for fact in match[0].rstrip(b"; ").split(b";"))
    facts = {key.lower(): value.decode("latin-1") for key, _, value in words}
    kind = facts.get(b"type", "").lower()
    if kind not in ("file", "dir"):
        return None  # the folder itself, the one above it, links, devices
    known = [facts.get(fact, "") for fact in (b"size", b"modify")]
    version = "-".join(known) if all(_WORD.fullmatch(word) for word in known) else ""
    return Entry(line[match.end() :], kind == "dir", version if kind == "file" else "", facts.get(b"unique", ""))


def _entry_of_line(line: bytes) -> Entry | None:
    if match := _UNIX.fullmatch(line):
        return Entry(match[2], match[1] == b"d") if match[1] in b"-d" else None
    if match := _DOS.fullmatch(line):
        return Entry(match[2], match[1] == b"<DIR>")
    raise failure(SampleCode.REMOTE_ERROR)
