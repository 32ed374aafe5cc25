"""The same 2,000 real images by file, HTTP, S3 and FTP, through one fleet and a trained network: the same selection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest

from alaas import Client
from alaas.client import Selected
from load_tests.cifar import unpack
from load_tests.image_server import image_server
from tests.support.fleets import Rig, write_config
from tests.support.ftp_server import FtpServer
from tests.support.s3_server import S3Server

POOL, BUDGET = 2000, 200
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar_resnet20.py"


@dataclass(frozen=True)
class Chosen:
    """One chosen sample, by the name of its file; the score bit for bit."""

    rank: int
    file: str
    score: float


@dataclass(frozen=True)
class Images:
    """A fleet, and where each source finds the images: a URI up to the file's name."""

    client: Client
    names: list[str]
    bases: dict[str, str]

    def select(self, source: str, strategy: str) -> list[Chosen]:
        uris = [self.bases[source] + name for name in self.names]
        selected = self.client.query_by_uri(uris, budget=BUDGET, strategy=strategy)
        assert not selected.failed
        return self._by_file(selected, dict(zip(map(id_of, uris), self.names, strict=True)))

    def _by_file(self, selected: Selected, files: dict[str, str]) -> list[Chosen]:
        """A sample's id stands for its URI, so that each source has ids of its own for the same files."""
        return [Chosen(one.rank, files[one.id], one.score) for one in selected.report.selected]


def id_of(uri: str) -> str:
    return blake2b(uri.encode(), digest_size=16).hexdigest()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Images]:
    folder = tmp_path_factory.mktemp("sources")
    pool = folder / "pool"
    names = [path.name for path in unpack(pool, POOL)]
    network = {"source": "file", "path": str(shared_data / "resnet20-cifar10.th"), "builder": f"{EXAMPLE}:resnet20",
               "strip_prefix": "module.", "transform": {"crop": 32}, "batch_size": 64}  # fmt: skip
    with ExitStack() as stack:
        s3 = stack.enter_context(S3Server(pool, "cifar"))
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in s3.environment.items():
            environment.setenv(name, value)
        sources = {"file": {"roots": [str(pool)]}, "s3": s3.settings("cifar")}
        config = write_config(folder, models={"resnet20": network}, sources=sources)
        bases = {
            "file": f"{pool.as_uri()}/",
            "http": f"{stack.enter_context(image_server(pool))}/",
            "s3": "s3://cifar/",
            "ftp": stack.enter_context(FtpServer(pool)).uri(),
        }
        rig = stack.enter_context(Rig(config))
        yield Images(stack.enter_context(rig.client()), names, bases)


@pytest.mark.timeout(300)
def test_each_source_gives_the_same_selection(images: Images) -> None:
    by_file = images.select("file", "LeastConfidence")
    assert [one.rank for one in by_file] == list(range(1, BUDGET + 1))
    assert len({one.file for one in by_file}) == BUDGET and by_file[0].score > by_file[-1].score > 0
    for source in ("http", "s3", "ftp"):
        assert images.select(source, "LeastConfidence") == by_file, source
