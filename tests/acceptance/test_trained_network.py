"""A trained network on all of its test images, through the whole fleet: a TorchHub repository in a local folder, named
by the paper's YAML. Decoding, normalisation, weights and the order of classes are right, or the accuracy is another.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as plain

from alaas.client import Selected
from examples.cifar_resnet20 import resnet20
from load_tests.cifar import unpack
from tests.acceptance.test_paper import FIGURE_3_YAML
from tests.support.fleets import Rig

ROOT = Path(__file__).resolve().parents[2]
IMAGES, COMPARED = 10_000, 1_000
ACCURACY = 0.8103
"""Of the plain script below on all of the images (../shared/data/README.md)."""

HUBCONF = """\
dependencies = ["torch"]

import torch
from cifar_resnet20 import resnet20 as _build


def resnet20(pretrained=False):
    network = _build()
    if pretrained:
        weights = torch.load({weights!r}, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict({{name.removeprefix("module."): value for name, value in weights.items()}})
    return network
"""
MODEL = """\
      hub_name: "{repository}"
      model: "resnet20"
      transform: {{crop: 32}}
      batch_size: 64
"""


@dataclass(frozen=True)
class Ran:
    paths: list[Path]
    selected: Selected
    card: Any

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Of the selected, in their order; classes are numbered by their names."""
        names = [Path(one.uri).name.split("-")[0] for one in self.selected.report.selected]
        number = {name: at for at, name in enumerate(sorted(set(names)))}
        return np.array([number[name] for name in names])

    def part(self, name: str) -> npt.NDArray[np.float64]:
        """Of the selected, in their order."""
        return np.array([(one.parts or {})[name] for one in self.selected.report.selected])


def papers_yaml(folder: Path, shared_data: Path) -> Path:
    """Figure 3 with a folder in the place of pytorch/vision; what stands around it says where data lies."""
    repository = folder / "hub"
    repository.mkdir()
    (repository / "hubconf.py").write_text(HUBCONF.format(weights=str(shared_data / "resnet20-cifar10.th")))
    shutil.copy(ROOT / "examples" / "cifar_resnet20.py", repository)
    lines = FIGURE_3_YAML.splitlines(keepends=True)
    first, last = lines.index('      hub_name: "pytorch/vision:release/0.12"\n'), lines.index("      batch_size: 4\n")
    yaml = "".join([*lines[:first], MODEL.format(repository=repository), *lines[last + 1 :]])
    around = f"storage: {{data_dir: {folder / 'data'}}}\nsources: {{file: {{roots: [{folder}]}}}}\n"
    (folder / "example.yml").write_text(yaml + around)
    return folder / "example.yml"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("trained")
    paths = unpack(folder / "images", IMAGES)
    with Rig(papers_yaml(folder, shared_data)) as rig, rig.client() as client:
        client.push_data([str(path) for path in paths])
        selected = client.query(budget=IMAGES, strategy="EntropySampling")
        (card,) = client.models()
        yield Ran(paths, selected, card)


@pytest.mark.timeout(400)
def test_the_fleet_reaches_the_accuracy_of_a_plain_script_on_ten_thousand_jpegs(ran: Ran) -> None:
    assert len(ran.labels) == IMAGES
    accuracy = float((ran.part("predicted_class") == ran.labels).mean())
    assert abs(accuracy - ACCURACY) <= 0.001, accuracy


def test_its_probabilities_are_those_of_a_plain_script(ran: Ran, shared_data: Path) -> None:
    """Of the two likeliest classes of 1,000 images: decoded by Pillow, normalised by torchvision, batches of 100."""
    of = {Path(one.uri).name: at for at, one in enumerate(ran.selected.report.selected)}
    rows = [of[path.name] for path in ran.paths[:COMPARED]]
    expected = probabilities(ran.paths[:COMPARED], shared_data / "resnet20-cifar10.th")
    in_order = np.sort(expected, axis=1)
    np.testing.assert_allclose(ran.part("p1")[rows], in_order[:, -1], atol=1e-5)
    np.testing.assert_allclose(ran.part("p2")[rows], in_order[:, -2], atol=1e-5)
    np.testing.assert_array_equal(ran.part("predicted_class")[rows], expected.argmax(axis=1))


def probabilities(paths: list[Path], weights: Path) -> npt.NDArray[np.float32]:
    network = resnet20().eval()
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    made = []
    with torch.inference_mode():
        for start in range(0, len(paths), 100):
            tensors = [plain.to_tensor(Image.open(path).convert("RGB")) for path in paths[start : start + 100]]
            batch = plain.normalize(torch.stack(tensors), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            made.append(network(batch).softmax(1))
    return torch.cat(made).numpy()


def test_the_model_is_listed_with_what_it_gives(ran: Ran) -> None:
    assert (ran.card.name, ran.card.modality, ran.card.classes) == ("resnet20", "vision", 10)
    assert (ran.card.input_size, ran.card.embedding_size) == ([32, 32], 64)
    assert ran.card.outputs[0] == "probabilities" and len(ran.card.fingerprint) == 64
