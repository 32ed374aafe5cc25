"""What is wrong with the disk, told without its path."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from alaas.errors import Unavailable


@contextmanager
def storage_faults(what_for: str) -> Iterator[None]:
    """A full or broken disk as 503."""
    try:
        yield
    except OSError as error:
        what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "cannot be written"
        raise Unavailable(f"the storage for {what_for} {what}", retry_after_s=30) from error
