"""Reads regular files beneath given folders, and nothing else, also while somebody swaps folders for links.

The path is resolved first; then every part of the result is opened below the last one without following links. A link
that stays inside is thus allowed, and one that is put there in between makes the opening fail.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.base import Fetched
from alaas_workers.sources.failures import failure, transient_failure

# O_PATH asks for no right to list the folder; only Linux has it.
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# A FIFO that takes the file's place must not hold the thread: O_NONBLOCK.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_DENIED = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Roots:
    """The folders that may be read, resolved. `private` beneath them stays closed unless a root lies in it."""

    folders: tuple[Path, ...]
    private: Path | None = None

    def root_of(self, real: str) -> str:
        """The deepest root that holds the resolved path `real`. Raises SampleError(NOT_ALLOWED)."""
        holding = [str(folder) for folder in self.folders if _holds(str(folder), real)]
        root = max(holding, key=len, default="")
        if not root or (self.private and _holds(str(self.private), real) and not _holds(str(self.private), root)):
            raise failure(SampleCode.NOT_ALLOWED)
        return root

    def is_private(self, status: os.stat_result) -> bool:
        """Whether `status` is of the private folder itself."""
        if self.private is None:
            return False
        try:
            private = os.stat(self.private)
        except OSError:
            return False
        return (private.st_dev, private.st_ino) == (status.st_dev, status.st_ino)


def read_beneath(roots: Roots, path: str, max_bytes: int) -> Fetched:
    """The bytes of the regular file `path` with the version that it has while open. Raises SampleError."""
    try:
        with _parent(roots, path) as (folder, name):
            version_of(os.stat(name, dir_fd=folder, follow_symlinks=False))  # opening a device may act on it
            descriptor = os.open(name, _FILE, dir_fd=folder)
        with open(descriptor, "rb") as file:
            return _read(file, max_bytes)
    except OSError as error:
        raise as_failure(error) from None


def version_beneath(roots: Roots, path: str) -> str:
    """The version of the regular file `path`. Raises SampleError.

    Quick, for pools of millions: what is known of a folder is believed for a second. Somebody who swaps the folder in
    that second learns size and time of a file elsewhere, never its bytes.
    """
    try:
        folder, name = os.path.split(path)
        if name not in ("", ".", "..") and _is_beneath(roots, folder, int(monotonic())):
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return version_of(status)
        with _parent(roots, path) as (parent, name):
            return version_of(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError as error:
        raise as_failure(error) from None


@lru_cache(maxsize=1024)
def _is_beneath(roots: Roots, folder: str, second: int) -> bool:
    try:
        roots.root_of(os.path.realpath(folder))
    except SampleError:
        return False
    return True


@contextmanager
def open_folder(roots: Roots, path: str) -> Iterator[int]:
    """The folder `path`, open to be listed. Raises SampleError(NOT_ALLOWED) and OSError."""
    with _parent(roots, os.path.join(os.path.realpath(path), "-")) as (folder, _):
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _parent(roots: Roots, path: str) -> Iterator[tuple[int, str]]:
    """The open folder that holds the file, and the file's name in it."""
    real = os.path.realpath(path)
    root = roots.root_of(real)
    *parts, name = os.path.relpath(real, root).split(os.sep)
    folder = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def _read(file: BinaryIO, max_bytes: int) -> Fetched:
    before = os.fstat(file.fileno())
    version = version_of(before)
    if before.st_size > max_bytes:
        raise failure(SampleCode.TOO_LARGE)
    if before.st_size == 0:  # also every file of /proc, which would give bytes all the same
        raise failure(SampleCode.EMPTY)
    data = file.read(before.st_size)
    if len(data) != before.st_size or version_of(os.fstat(file.fileno())) != version:
        raise transient_failure(SampleCode.UNSTABLE)
    return Fetched(data, version)


def version_of(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        raise failure(SampleCode.NOT_ALLOWED)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def as_failure(error: OSError) -> SampleError:
    if error.errno in _MISSING:
        return failure(SampleCode.NOT_FOUND)
    if error.errno in _DENIED:
        return failure(SampleCode.FORBIDDEN)
    return transient_failure(SampleCode.REMOTE_ERROR)
