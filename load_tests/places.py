"""The same files on disk and behind an HTTP, an S3 and an FTP server, each a process of its own on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from load_tests.image_server import image_server
from tests.support.ftp_server import FtpServer
from tests.support.s3_server import S3Server

BUCKET = "images"


class Place(NamedTuple):
    """The images at one source: `base` is the URI up to a file's name, `settings` the sources section that reads it."""

    base: str
    settings: dict[str, Any]


@contextmanager
def places(pool: Path, delay_s: float) -> Iterator[dict[str, Place]]:
    """Running servers for the same files. A local file has no delay to add."""
    with ExitStack() as stack:
        s3 = stack.enter_context(S3Server(pool, BUCKET, delay_s))
        os.environ.update(s3.environment)
        ftp = stack.enter_context(FtpServer(pool, delay_s=delay_s))
        web = stack.enter_context(image_server(pool, 1000 * delay_s))
        yield {
            "file": Place(f"{pool.as_uri()}/", {"file": {"roots": [str(pool)]}}),
            "http": Place(f"{web}/", {}),
            "s3": Place(f"s3://{BUCKET}/", {"s3": s3.settings(BUCKET)}),
            "ftp": Place(ftp.uri(), {}),
        }
