"""Lists the regular files beneath a folder that may be read: by open folders, so that no swapped link leads out.

Links to files that may be read are listed; links to folders are not followed, since they may lead in a circle.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import quote_from_bytes

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.base import Listed
from alaas_workers.sources.beneath import Roots, as_failure, open_folder, version_beneath, version_of

PAGE = 1000
MAX_NAMES = 2_000_000  # of one folder: they are sorted in memory
MAX_DEPTH = 100
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def pages_beneath(roots: Roots, folder: str) -> Generator[list[Listed]]:
    """The files beneath `folder` in the order of their paths' bytes, as object stores list keys; a page at a time.

    Raises SampleError: NOT_FOUND, NOT_ALLOWED, FORBIDDEN for the folder itself. What lies beneath and cannot be read
    is passed over.
    """
    page: list[Listed] = []
    try:
        with open_folder(roots, folder) as descriptor:
            for found in _walk(roots, os.fsencode(folder.rstrip("/")), descriptor, 0):
                page.append(found)
                if len(page) == PAGE:
                    yield page
                    page = []
    except OSError as error:
        raise as_failure(error) from None
    if page:
        yield page


def _walk(roots: Roots, path: bytes, descriptor: int, depth: int) -> Iterator[Listed]:
    """`descriptor`: of the open folder `path`, which is only told of, never opened by its name."""
    for name in _names(descriptor):
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError:
            continue  # it went away
        if stat.S_ISDIR(status.st_mode):
            if depth < MAX_DEPTH and not roots.is_private(status):
                yield from _inside(roots, path + b"/" + name, descriptor, name, depth)
        elif (version := _version(roots, path + b"/" + name, status)) is not None:
            yield Listed("file://" + quote_from_bytes(path + b"/" + name), version)


def _inside(roots: Roots, path: bytes, parent: int, name: bytes, depth: int) -> Iterator[Listed]:
    try:
        descriptor = os.open(name, _LIST, dir_fd=parent)
    except OSError:
        return  # closed to us, or a link by now
    with _closing(descriptor):
        yield from _walk(roots, path, descriptor, depth + 1)


def _names(descriptor: int) -> list[bytes]:
    names: list[bytes] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            # With its slash a folder sorts as the paths beneath it do.
            names.append(os.fsencode(entry.name) + b"/" * entry.is_dir(follow_symlinks=False))
            if len(names) > MAX_NAMES:
                raise SampleError(SampleCode.TOO_LARGE, f"a folder holds more than {MAX_NAMES} names")
    return [name.rstrip(b"/") for name in sorted(names)]


def _version(roots: Roots, path: bytes, status: os.stat_result) -> str | None:
    """None for what is no regular file, nor a link to one that may be read."""
    try:
        if stat.S_ISLNK(status.st_mode):
            return version_beneath(roots, os.fsdecode(path))
        return version_of(status)
    except SampleError:
        return None


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
