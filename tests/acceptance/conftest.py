"""One fleet for most of these tests, since starting one takes many seconds: a null model, small limits, Flower."""

from __future__ import annotations

import itertools
import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from alaas import Client
from tests.support import images
from tests.support.fleets import Rig, write_config
from tests.support.web_server import Request, WebServer, answer

MAX_SAMPLE_BYTES = 300_000
MAX_PIXELS = 500_000_000
TOTAL_TIMEOUT_S = 2.5
CHUNK = 4
FLOWER_PASSWORD = "a-password-of-the-tests"
_PHOTOS = [answer(images.jpeg(40, 30, seed=seed)) for seed in range(16)]


@dataclass(frozen=True)
class Fleet:
    """A running fleet, a client of it, a web server with images for it, and the folder that file URIs may read."""

    rig: Rig
    client: Client
    web: WebServer
    root: Path
    _names: Iterator[int] = field(default_factory=itertools.count)

    def pool(self, count: int, delay_ms: int = 0) -> list[str]:
        """URIs of good images that no test saw before, each served after a delay."""
        name = next(self._names)
        return [self.web.uri(f"/good/{name}/{delay_ms}/{number}.jpg") for number in range(count)]

    def asked_for(self, uris: list[str]) -> int:
        """How many requests for these URIs reached the web server."""
        wanted = set(uris)
        return sum(self.web.uri(path) in wanted for path in self.web.paths)


def serve_good_image(request: Request) -> None:
    parts = request.path.split("/")
    if len(parts) != 5 or parts[1] != "good":
        request.send(answer(b"", "404 Not Found"))
        return
    request.stopping.wait(int(parts[3]) / 1000)
    request.send(_PHOTOS[zlib.crc32(request.path.encode()) % len(_PHOTOS)])


class _Code:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._folder),)


def write_bad_models(folder: Path) -> dict[str, dict[str, str]]:
    """Models whose files are missing, damaged, or code. The code would make the folder `pwned` beside them."""
    folder.mkdir()
    (folder / "damaged.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{not safetensors" + bytes(1000))
    (folder / "code.pt").write_bytes(pickle.dumps(_Code(folder / "pwned")))
    names = {"missing": "missing.safetensors", "damaged": "damaged.safetensors", "code": "code.pt"}
    builder = {"source": "file", "builder": "alaas.demo.digits:build"}
    return {name: builder | {"path": str(folder / file)} for name, file in names.items()}


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    root = folder / "pool"
    root.mkdir()
    config = write_config(
        folder,
        models={"null": {"source": "null"}, **write_bad_models(folder / "models")},
        sources={
            "max_sample_bytes": MAX_SAMPLE_BYTES,
            "max_pixels": MAX_PIXELS,
            "attempts": 2,
            "retry_delay_s": 0.1,
            "file": {"roots": [str(root)]},
            "http": {"connect_timeout_s": 2.0, "read_timeout_s": 2.0, "total_timeout_s": TOTAL_TIMEOUT_S},
        },
        pipeline={"chunk_size": CHUNK, "hint_grace_s": 1.0, "sweep_s": 0.3, "max_attempts": 2},
        workers={"preprocess": {"concurrency": 2}, "max_child_memory_bytes": 1536 * 1024**2},
        flower={"enabled": True, "port": 0, "password": FLOWER_PASSWORD},
    )
    with WebServer({"*": serve_good_image}) as web, Rig(config) as rig, rig.client() as client:
        yield Fleet(rig, client, web, root)
