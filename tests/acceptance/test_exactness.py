"""What a fleet selects is what a plain script selects, id for id and in order: real images, ResNet-18 at 224, fp32.

The script below shares no code with the fleet: Pillow, torchvision's transforms, eager torch, numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2

from alaas.client import Selected
from load_tests.cifar import unpack
from load_tests.image_server import image_server
from tests.support.claims import Claims
from tests.support.fleets import Rig, write_config

POOL, BUDGET, LABELLED, CLASSES = 192, 64, 200, 10
ROUNDING = 1e-5
"""More than a probability moves (4e-6) when the same network runs in other batches or another memory layout."""

Floats = npt.NDArray[np.float32]

as_input = v2.Compose(
    [
        v2.Resize(256, antialias=True),
        v2.CenterCrop(224),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def run_network(network: torch.nn.Module, paths: list[Path]) -> Floats:
    """Batches of 16, one after the other, as in any script."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(paths), 16):
            decoded = [v2.functional.pil_to_tensor(Image.open(path).convert("RGB")) for path in paths[start:][:16]]
            rows.append(network(torch.stack([as_input(image) for image in decoded])))
    return torch.cat(rows).numpy()


def make_network(labelled: list[Path]) -> Any:
    """Seeded features, and a linear head fitted on a few labelled images, so that its probabilities are spread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)  # of some tried, the one whose confidences lie furthest apart
        network = torchvision.models.resnet18(num_classes=CLASSES).eval()
    head, network.fc = torch.nn.Linear(512, CLASSES), torch.nn.Identity()
    embeddings = run_network(network, labelled).astype(np.float64)
    names = [path.name.split("-")[0] for path in labelled]
    wanted = np.equal.outer(names, sorted(set(names))).astype(np.float64)
    weight, bias = fit(embeddings, 6 * wanted - 3)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    network.fc = head
    return network


def fit(rows: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """Ridge regression: the weight and bias of a linear layer."""
    mean, scale = rows.mean(0), rows.std(0) + 1e-9
    standard = (rows - mean) / scale
    gram = standard.T @ standard + len(rows) * np.eye(rows.shape[1])
    weight = np.linalg.solve(gram, standard.T @ (targets - targets.mean(0))).T / scale
    return weight, targets.mean(0) - weight @ mean


@dataclass(frozen=True)
class Reference:
    """What the plain script chose: images by name, their scores, and the weights that it ran."""

    names: list[str]
    scores: list[float]
    weights: Path
    uris: list[str]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Reference]:
    folder = tmp_path_factory.mktemp("exactness")
    paths = unpack(folder / "images", POOL + LABELLED)
    pool = paths[:POOL]
    network = make_network(paths[POOL:])
    weights = folder / "resnet18-cifar10.safetensors"
    save_file(network.state_dict(), str(weights))
    probabilities = torch.from_numpy(run_network(network, pool)).softmax(1).numpy()
    confidence = probabilities.max(1)
    order = np.argsort(confidence)[:BUDGET]
    assert_it_can_tell(probabilities)
    with image_server(folder / "images") as base:
        uris = [f"{base}/{path.name}" for path in pool]
        yield Reference([pool[i].name for i in order], [float(1 - confidence[i]) for i in order], weights, uris)


def assert_it_can_tell(probabilities: Floats) -> None:
    """The test has one right answer, and not a dull one: no two confidences are within rounding, and they differ."""
    lowest = np.sort(probabilities.max(1))[: BUDGET + 1]
    assert np.diff(lowest).min() > ROUNDING, np.diff(lowest).min()
    assert lowest[-1] - lowest[0] > 0.05 and len(np.unique(probabilities.argmax(1))) == CLASSES


def model_of(**settings: Any) -> dict[str, Any]:
    return {"resnet18-cifar10": {"kwargs": {"num_classes": CLASSES}, **settings}}


def assert_same(selected: Selected, reference: Reference) -> None:
    base = reference.uris[0].rsplit("/", 1)[0]
    uris = [f"{base}/{name}" for name in reference.names]
    assert list(selected) == uris
    assert [chosen.id for chosen in selected.report.selected] == [
        blake2b(uri.encode(), digest_size=16).hexdigest() for uri in uris
    ]
    assert [chosen.rank for chosen in selected.report.selected] == list(range(1, BUDGET + 1))
    assert np.abs(np.array(selected.scores) - reference.scores).max() < ROUNDING


@pytest.mark.timeout(400)
def test_a_fleet_selects_what_a_plain_script_selects(reference: Reference, tmp_path: Path) -> None:
    """Pushed first; the weights as a file with a builder; batches of 32."""
    source = {"source": "file", "path": str(reference.weights), "builder": "torchvision.models:resnet18"}
    config = write_config(tmp_path, models=model_of(**source, batch_size=32))
    with Rig(config) as rig, rig.client() as client:
        client.push_data(reference.uris)
        assert_same(client.query(budget=BUDGET, strategy="LeastConfidence"), reference)


@pytest.mark.timeout(400)
def test_other_chunks_batches_and_workers_change_nothing(reference: Reference, tmp_path: Path) -> None:
    """Queried at once; the weights given to torchvision's model; batches of 8 in chunks of 17, two workers a stage."""
    source = {"name": "resnet18", "weights": str(reference.weights)}
    config = write_config(
        tmp_path,
        models=model_of(**source, batch_size=8),
        pipeline={"chunk_size": 17},
        workers={
            "download": {"processes": 2},
            "preprocess": {"concurrency": 2},
            "inference": {"processes": 2, "concurrency": 1},
        },
    )
    with Rig(config) as rig, rig.client() as client:
        with Claims(rig.ledger_redis()) as claims:
            selected = client.query_by_uri(reference.uris, budget=BUDGET, strategy="LeastConfidence")
        assert_same(selected, reference)
    assert len(claims.pids("download")) == len(claims.pids("inference")) == 2, claims.workers
