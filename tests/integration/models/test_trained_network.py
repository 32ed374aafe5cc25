"""Real weights on real images, through transform and backend: a wrong normalisation or layer costs accuracy at once."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from alaas.config import Config
from alaas.config.sources import SourcesConfig
from alaas.errors import SampleCode, SampleError
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.models import transform_for
from alaas_workers.transforms.decode import decode_rgb
from tests.support.tiny_models import config_of

ROOT = Path(__file__).resolve().parents[3]
PER_CLASS = 50


@pytest.fixture(scope="module")
def images(shared_data: Path) -> list[tuple[int, bytes]]:
    """(class, JPEG) of the first test images of each class; the folders' order is that of the classes."""
    found: dict[str, list[bytes]] = {}
    with tarfile.open(shared_data / "cifar10-test-jpeg.tar.gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            kept = found.setdefault(member.name.split("/")[1], []) if file is not None else []
            if file is not None and len(kept) < PER_CLASS:
                kept.append(file.read())
    return [(label, data) for label, name in enumerate(sorted(found)) for data in found[name]]


@pytest.fixture
def config(shared_data: Path) -> Config:
    return config_of(
        source="file",
        path=shared_data / "resnet20-cifar10.th",
        builder=f"{ROOT}/examples/cifar_resnet20.py:resnet20",
        strip_prefix="module.",
        transform={"crop": 32},
        batch_size=64,
    )


def test_a_trained_network_reaches_the_accuracy_of_a_plain_script(
    config: Config, images: list[tuple[int, bytes]]
) -> None:
    transform = transform_for("m", config.models["m"])
    arrays = [transform.preprocess(data, SourcesConfig(max_pixels=1024)) for _, data in images]
    backend = open_backend("m", config)
    probabilities = backend.infer(arrays, [Feature.PROBABILITIES], lambda: None)[Feature.PROBABILITIES]
    backend.close()
    labels = np.array([label for label, _ in images])
    assert len(labels) == 500
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    assert 0.76 <= accuracy <= 0.86  # 81.03 % on all 10,000


def test_every_real_jpeg_that_ends_early_is_refused(images: list[tuple[int, bytes]]) -> None:
    for _, data in images:
        for end in (len(data) // 2, len(data) - 2):
            with pytest.raises(SampleError) as caught:
                decode_rgb(data[:end], 1024)
            assert caught.value.sample_code is SampleCode.TRUNCATED


def test_its_card_names_the_embedding_before_its_head(config: Config) -> None:
    backend = open_backend("m", config)
    assert (backend.card.classes, backend.card.embedding_size, backend.card.input_size) == (10, 64, [32, 32])
    backend.close()
