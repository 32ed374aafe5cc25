"""timm's models: its own transform on real JPEGs, its own scores and embeddings, and no import before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.models import load_model, transform_for
from alaas_workers.models.timm_data import UnlikeOurs, as_transform
from tests.support.images import jpeg
from tests.support.tiny_models import config_of, saved

timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'alaas[vision]'")

NAMES = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050"]
SIZES = [(200, 150), (150, 333), (640, 480), (97, 64), (160, 160)]


def network(name: str, **kwargs: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return timm.create_model(name, **{"num_classes": 5} | kwargs).eval()


def folder_with(name: str, folder: Path, **kwargs: Any) -> Path:
    timm.models.save_for_hf(network(name, **kwargs), str(folder), safe_serialization=True)
    return folder


def own_transform(module: Any) -> Any:
    return timm.data.create_transform(**timm.data.resolve_data_config({}, model=module), is_training=False)


def error_of(**settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model("m", config_of(source="timm", **settings))
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_those_of_timms_own_transform(name: str, tmp_path: Path) -> None:
    """Within two of 255 levels, and most of them equal: Pillow and torch round what they resize otherwise."""
    transform = transform_for("m", config_of(source="timm", name=name).models["m"])
    own = own_transform(network(name))
    for seed, size in enumerate(SIZES):
        (tmp_path / "photo.jpg").write_bytes(jpeg(*size, seed=seed))
        expected = own(Image.open(tmp_path / "photo.jpg").convert("RGB"))
        pixels = transform.preprocess((tmp_path / "photo.jpg").read_bytes(), SourcesConfig())
        given = transform.to_input([pixels])
        assert isinstance(given, torch.Tensor)
        levels = (given[0] - expected).abs() * torch.tensor(transform.settings.std).view(3, 1, 1) * 255
        assert levels.max() < 2.01 and (levels > 0.5).float().mean() < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_embeddings_are_timms_own(name: str, tmp_path: Path) -> None:
    path = saved(network(name), tmp_path / "mine.pt")
    model = load_model("m", config_of(source="timm", name=name, weights=path, kwargs={"num_classes": 5}))
    batch = torch.rand(8, 3, *(model.transform.input_size or ()))
    outputs = model.outputs(batch)
    with torch.inference_mode():
        own = network(name)
        maps = own.forward_features(batch)
        torch.testing.assert_close(outputs[Feature.PROBABILITIES], own(batch).softmax(1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            outputs[Feature.EMBEDDINGS], own.forward_head(maps, pre_logits=True).flatten(1), atol=1e-5, rtol=1e-4
        )


def test_a_folder_that_timm_saved_tells_all(tmp_path: Path) -> None:
    folder = folder_with("test_vit", tmp_path / "mine")
    model = load_model("m", config_of(source="timm", repo=folder))
    assert (model.card.classes, model.card.input_size) == (5, [160, 160])
    batch = torch.rand(8, 3, 160, 160)
    with torch.inference_mode():
        expected = network("test_vit")(batch).softmax(1)
    torch.testing.assert_close(model.outputs(batch)[Feature.PROBABILITIES], expected, atol=1e-5, rtol=1e-4)


def test_the_settings_of_a_folder_are_read_without_timm_and_torch(tmp_path: Path) -> None:
    folder = folder_with("test_resnet", tmp_path / "mine")
    program = (
        "import sys\nfrom alaas.config import parse_config\nfrom alaas_workers.models import transform_for\n"
        f"config = parse_config({{'models': {{'m': {{'source': 'timm', 'repo': {str(folder)!r}}}}}}})\n"
        "print(transform_for('m', config.models['m']).input_size, 'timm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split("\n")[0] == "(160, 160) False", ran.stderr


def test_labels_of_a_timm_model_may_be_independent() -> None:
    card = load_model("m", config_of(source="timm", name="test_resnet", scores_of="labels")).card
    assert card.outputs == [Feature.LABEL_PROBABILITIES, Feature.EMBEDDINGS]


def test_another_input_size_is_taken_from_its_arguments() -> None:
    settings = transform_for("m", config_of(source="timm", name="test_vit", kwargs={"img_size": 96}).models["m"])
    assert settings.input_size == (96, 96)


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"name": "resnet19"}, "name", "nearest known: 'resnet1"),
        ({"name": "resnet18.nothing"}, "name", "knows no weights"),
        ({"name": "hf-hub:timm/resnet18.a1_in1k"}, "name", "timm builds no"),
        ({"name": "local-dir:/tmp"}, "name", "timm builds no"),
        ({"name": "test_vit", "kwargs": {"pretrained": True}}, "kwargs", "weights come from"),
        ({"name": "test_vit", "kwargs": {"checkpoint_path": "x"}}, "kwargs", "weights come from"),
        ({"name": "test_vit", "kwargs": {"depht": 3}}, "kwargs", "depht"),
        ({"name": "test_vit", "weights": "nowhere.pt"}, "weights", "no file nowhere.pt"),
        ({"name": "test_vit", "modality": "text"}, "modality", "take images"),
        ({"repo": "timm/resnet18.a1_in1k"}, "revision", "pin it"),
        ({"repo": "nowhere"}, "repo", "no folder"),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_setting(settings: dict[str, Any], field: str, words: str) -> None:
    transform = {"resize": 160, "crop": 160}
    error = error_of(transform=transform, **settings)
    assert error.field == f"models.m.{field}" and words in error.detail, error


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = saved(network("test_vit"), tmp_path / "vit.pt")
    error = error_of(name="test_resnet", weights=path, kwargs={"num_classes": 5})
    assert error.field == "models.m.weights" and "do not fit" in error.detail


def test_a_folder_whose_arguments_reach_for_other_files_is_refused(tmp_path: Path) -> None:
    folder = folder_with("test_resnet", tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] = {"checkpoint_path": "/etc/hostname"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "checkpoint_path" in error_of(repo=folder).detail


DATA = {"input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.8, "interpolation": "bilinear"}


@pytest.mark.parametrize(
    ("data", "resize", "crop"),
    [
        ({}, 120, 96),
        ({"crop_pct": None}, 109, 96),
        ({"crop_mode": "squash"}, (120, 120), 96),
        ({"crop_mode": "squash", "crop_pct": 1.0, "input_size": [3, 96, 64]}, (96, 64), None),
    ],
)
def test_its_ways_to_crop_are_ours(data: dict[str, Any], resize: Any, crop: Any) -> None:
    made = as_transform(DATA | data)
    assert (made.resize, made.crop) == (resize, crop)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"crop_mode": "border"}, "crop_mode"),
        ({"interpolation": "lanczos"}, "lanczos"),
        ({"input_size": [1, 96, 96]}, "1 channels"),
        ({"input_size": [3, 96, 64]}, "crops squares"),
        ({"input_size": 96}, "input_size"),
        ({"mean": None}, "mean"),
        ({"std": [0.5, 0.0, 0.5]}, "std"),
        ({"mean": [float("inf")] * 3}, "mean"),
        ({"crop_pct": 2}, "crop_pct"),
        ({"crop_pct": "x"}, "crop_pct"),
    ],
)
def test_a_transform_that_ours_cannot_do_is_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(UnlikeOurs, match=words):
        as_transform(DATA | data)


def test_timm_is_named_with_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    error = error_of(name="resnet18")
    assert "pip install 'alaas[vision]'" in error.detail
