from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from alaas.config import ModelConfig, load_config
from alaas.errors import ModelError
from alaas_workers.models import load_model, transform_for
from tests.support.tiny_models import TRANSFORM, config_of, saved, seeded

COMMIT = "0123456789abcdef" * 2 + "01234567"
HUBCONF = """
dependencies = ["torch"]
from tests.support.tiny_models import TinyNet
import torch

def tiny(pretrained=False, **kwargs):
    net = TinyNet(**kwargs)
    if pretrained:
        torch.nn.init.constant_(net.fc.weight, 2.0)
    return net

def weighted(weights=None):
    net = TinyNet()
    torch.nn.init.constant_(net.fc.weight, 3.0 if weights == "BEST" else 1.0 if weights else 0.0)
    return net

def resnet18(*, weights=None, progress=True):
    assert weights == "IMAGENET1K_V1", weights
    return TinyNet(classes=10)

def plain():
    return TinyNet()

def fails():
    raise OSError("/secret/path")

def number():
    return 3
"""


def _repository(folder: Path, text: str = HUBCONF) -> Path:
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(text)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return _repository(tmp_path / "somewhere" / "nets")


def _load(repo: object, name: str = "tiny", *, hub: Path | None = None, **settings: Any) -> Any:
    given = {"source": "torch_hub", "repo": str(repo), "name": name, "transform": TRANSFORM} | settings
    return load_model("m", config_of(hub=hub, **given))


def _error(repo: object, name: str = "tiny", **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        _load(repo, name, **settings)
    return caught.value


def _head_weight(model: Any) -> float:
    return float(model.module.state_dict()["module.fc.weight"][0, 0])


def test_a_local_folder_is_loaded(repository: Path) -> None:
    assert _load(repository, kwargs={"classes": 9}).card.classes == 9


@pytest.mark.parametrize("ref", ["v0.10.0", "release/0.12", COMMIT])
def test_the_copy_that_torch_hub_holds_is_loaded_by_the_name_that_it_gave(hub: Path, ref: str) -> None:
    _repository(hub / f"someone_nets_{ref.replace('/', '_')}")
    assert _load(f"someone/nets:{ref}", hub=hub).card.classes == 5


def test_torchs_own_folder_is_looked_into_by_default(tmp_path: Path) -> None:
    _repository(tmp_path / "default-hub" / "someone_nets_v1")
    assert _load("someone/nets:v1").card.classes == 5


def test_trained_weights_are_asked_for_where_the_entry_has_them(repository: Path) -> None:
    assert _head_weight(_load(repository)) == 2.0
    assert _head_weight(_load(repository, kwargs={"pretrained": False})) != 2.0
    assert _head_weight(_load(repository, "weighted", weights="BEST")) == 3.0


def test_weights_from_a_file_go_over_those_of_the_entry(repository: Path, tmp_path: Path) -> None:
    path = saved(seeded(4), tmp_path / "mine.pt")
    model = _load(repository, weights=path)
    assert torch.equal(model.module.state_dict()["module.fc.weight"], seeded(4).fc.weight)


def test_an_entry_without_weights_gives_every_worker_the_same_ones(repository: Path) -> None:
    torch.manual_seed(1)
    first = _load(repository, "plain")
    torch.manual_seed(2)
    assert _load(repository, "plain").card == first.card


def test_the_papers_configuration_loads_from_a_folder_that_stands_in_for_the_network(
    hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _repository(hub / "pytorch_vision_release_0.12")
    (tmp_path / "paper.yml").write_text("""
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "LeastConfidence"
    infer_model:
      type: torch_hub
      hub_name: "pytorch/vision:release/0.12"
      model: "resnet18"
      batch_size: 4
      instance_group:
        - count: 1
          kind: KIND_GPU
""")
    config = load_config(tmp_path / "paper.yml", {"torch_hub.dir": str(hub)}, environ={})
    model = load_model("resnet18", config)
    assert model.card.classes == 10 and model.card.input_size == [224, 224]
    assert not caplog.records


def test_pytorch_vision_without_a_copy_is_served_by_the_installed_torchvision_with_one_warning(
    hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    network = torchvision.models.get_model("shufflenet_v2_x0_5")
    saved(network, hub / "checkpoints" / "shufflenetv2_x0.5-f707e7126e.pth")
    with caplog.at_level(logging.WARNING):
        model = _load("pytorch/vision:v0.10.0", "shufflenet_v2_x0_5", hub=hub, transform={"resize": 32, "crop": 32})
    assert torch.equal(model.module.state_dict()["module.fc.weight"], network.fc.weight)
    warnings = [record for record in caplog.records if "no local copy of pytorch/vision:v0.10.0" in record.getMessage()]
    assert len(warnings) == 1


def test_a_model_of_pytorch_vision_takes_the_transform_of_its_weights() -> None:
    settings = ModelConfig(source="torch_hub", repo="pytorch/vision:v0.10.0", name="inception_v3")
    assert transform_for("m", settings).input_size == (299, 299)
    other = ModelConfig(source="torch_hub", repo="someone/nets:v1", name="inception_v3")
    assert transform_for("m", other).input_size == (224, 224)


@pytest.mark.parametrize("repo", ["someone/nets:main", "someone/nets", "someone/nets:v1.0", "someone/nets:0123456"])
def test_a_reference_that_can_change_is_refused(hub: Path, repo: str) -> None:
    error = _error(repo, hub=hub)
    assert error.field == "models.m.repo" and "pin it by its commit" in error.detail


def test_a_pinned_repository_is_fetched_at_that_commit(
    hub: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, path: str, *_: Any, **__: Any) -> None:  # the one thing that needs the network
        asked.append(url)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(repository, "someone-nets-0123456/")
            archive.write(repository / "hubconf.py", "someone-nets-0123456/hubconf.py")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert _load(f"someone/nets:{COMMIT}", hub=hub).card.classes == 5
    assert _load(f"someone/nets:{COMMIT}", hub=hub).card.classes == 5
    assert len(asked) == 1 and asked[0].endswith(f"/someone/nets/zipball/{COMMIT}")


def test_a_repository_that_cannot_be_fetched_is_told(hub: Path) -> None:
    error = _error(f"someone/nets:{COMMIT}", hub=hub)
    assert error.field == "models.m.repo" and "could not be fetched" in error.detail


@pytest.mark.parametrize("repo", ["/no/such/folder", "nothing", "a b/c:main"])
def test_what_is_neither_folder_nor_reference_is_told(hub: Path, repo: str) -> None:
    assert _error(repo, hub=hub).field == "models.m.repo"


def test_a_repository_must_be_given() -> None:
    with pytest.raises(ModelError) as caught:
        load_model("m", config_of(source="torch_hub", transform=TRANSFORM))
    assert caught.value.field == "models.m.repo"


@pytest.mark.parametrize(("name", "key"), [("absent", "name"), ("number", "name"), ("fails", "repo")])
def test_an_entry_that_gives_no_model_is_told_without_its_message(repository: Path, name: str, key: str) -> None:
    error = _error(repository, name)
    assert error.field == f"models.m.{key}" and "secret" not in error.detail


def test_the_fingerprint_covers_the_code_and_not_the_place(tmp_path: Path) -> None:
    prints = [
        _load(_repository(tmp_path / name, text)).card.fingerprint
        for name, text in (("a", HUBCONF), ("b", HUBCONF), ("c", HUBCONF + "# changed"))
    ]
    assert prints[0] == prints[1] != prints[2]
