"""Which files are opened meanwhile: code of a model repository fetches weights and tells nobody where they lie."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_listening: list[set[Path]] = []


@contextmanager
def opened_files() -> Iterator[set[Path]]:
    """Filled with every file that Python opens in this process, in whatever thread."""
    _listen()
    files: set[Path] = set()
    _listening.append(files)
    try:
        yield files
    finally:
        _listening.pop()


@cache
def _listen() -> None:
    sys.addaudithook(_heard)  # for good: none can be taken away


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if _listening and event == "open" and isinstance(args[0], str):  # others are numbers of open files, and bytes
        _listening[-1].add(Path(args[0]))
