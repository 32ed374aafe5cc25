"""Models that are exported with their settings and copies of their files: each loads where nothing else of it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from alaas.config import Config
from alaas.errors import ModelError
from alaas_workers.export import triton
from alaas_workers.export.carried import load_carried
from alaas_workers.export.opened import opened_files
from alaas_workers.models import load_model
from alaas_workers.models.loading import example_batch
from tests.support.detectors import detector_config
from tests.support.tiny_models import TRANSFORM, config_of, saved, seeded
from tests.support.tiny_texts import text_config, write_text_model

COMMIT = "0123456789abcdef" * 2 + "01234567"
NET = "from tests.support.tiny_models import TinyNet as Net\n"
HUBCONF = """
from pathlib import Path
import torch
from tests.support.tiny_models import TinyNet

def tiny():
    net = TinyNet()
    net.load_state_dict(torch.load(Path(__file__).with_name("weights.pt")))
    return net
"""


@pytest.fixture(autouse=True)
def _hub_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there, as on a host without network
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "default-hub"))


def weights_and_builder(folder: Path) -> Config:
    (folder / "net.py").write_text(NET)
    path = saved(seeded(3), folder / "w.pt")
    return config_of(source="file", path=path, builder=f"{folder}/net.py:Net", transform=TRANSFORM)


def detector(folder: Path) -> Config:
    return detector_config(folder, max_boxes=7)


def weights_by_name(folder: Path) -> Config:
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(5)
    network = torchvision.models.get_model("shufflenet_v2_x0_5")
    saved(network, folder / "hub" / "checkpoints" / "shufflenetv2_x0.5-f707e7126e.pth")
    saved(seeded(), folder / "hub" / "checkpoints" / "another.pth")
    size = {"resize": 32, "crop": 32}
    return config_of(hub=folder / "hub", name="shufflenet_v2_x0_5", weights="IMAGENET1K_V1", transform=size)


def hub_folder(folder: Path) -> Config:
    return config_of(source="torch_hub", repo=_repository(folder / "nets"), name="tiny", transform=TRANSFORM)


def copy_of_a_pinned_repository(folder: Path) -> Config:
    _repository(folder / "hub" / f"someone_nets_{COMMIT}")
    repo = f"someone/nets:{COMMIT}"
    return config_of(hub=folder / "hub", source="torch_hub", repo=repo, name="tiny", transform=TRANSFORM)


def text_folder(folder: Path) -> Config:
    return text_config(folder)


def text_with_another_tokenizer(folder: Path) -> Config:
    return text_config(folder, text={"tokenizer": str(write_text_model(folder / "other") / "tokenizer.json")})


def _repository(folder: Path) -> Path:
    (folder / ".git").mkdir(parents=True)
    (folder / "hubconf.py").write_text(HUBCONF)
    saved(seeded(4), folder / "weights.pt")
    return folder


KINDS: list[Callable[[Path], Config]] = [
    weights_and_builder,
    detector,
    weights_by_name,
    hub_folder,
    copy_of_a_pinned_repository,
    text_folder,
    text_with_another_tokenizer,
]


def refuse(model: Any, _folder: Path) -> None:
    raise ModelError(f"model {model.card.name!r}: torch.export cannot capture it")


def carried(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> triton.Written:
    monkeypatch.setattr(triton, "write_program", refuse)
    return triton.export("m", config, folder / "repository")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_model_comes_with_all_it_is_made_of(
    kind: Callable[[Path], Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    config = kind(there)
    model = load_model("m", config)
    batch = example_batch(model, 1)
    written = carried(config, tmp_path, monkeypatch)
    shutil.rmtree(there)
    found = load_carried(written.folder / "1" / "model.json")
    expected, outputs = model.outputs(batch), found.outputs(batch)
    assert expected and all(torch.equal(outputs[feature], rows) for feature, rows in expected.items())
    copied = [path.name for path in (written.folder / "1").rglob("*")]
    assert ".git" not in copied and "another.pth" not in copied
    assert str(there) not in (written.folder / "1" / "model.json").read_text()


def test_what_another_fingerprint_says_is_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = carried(weights_and_builder(tmp_path), tmp_path, monkeypatch)
    saved(seeded(9), written.folder / "1" / "files" / "path" / "w.pt")
    with pytest.raises(ModelError, match="another model here than where it was exported"):
        load_carried(written.folder / "1" / "model.json")


def test_it_is_told_that_triton_needs_alaas_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = weights_and_builder(tmp_path)
    captured = triton.export("m", config, tmp_path / "captured")
    written = carried(config, tmp_path, monkeypatch)
    assert (captured.runs_own_code, written.runs_own_code) == ("", "torch.export cannot capture it")
    assert captured.fingerprint != written.fingerprint
    told = json.loads((written.folder / "1" / "model.json").read_text())
    assert told["files"] == {"path": "files/path/w.pt", "builder": "files/builder/net.py"}


def test_files_that_are_opened_meanwhile_are_noted_and_no_others(tmp_path: Path) -> None:
    for name in ("before", "meanwhile", "after"):
        (tmp_path / name).touch()
    (tmp_path / "before").read_bytes()
    with opened_files() as opened:
        (tmp_path / "meanwhile").read_bytes()
    (tmp_path / "after").read_bytes()
    assert tmp_path / "meanwhile" in opened and not {tmp_path / "before", tmp_path / "after"} & opened
