from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from alaas.config import Config, ModelConfig
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.models import load_model, transform_for
from tests.support.tiny_models import Evil, config_of, saved

SMALL = "shufflenet_v2_x0_5"
CHECKPOINT = "shufflenetv2_x0.5-f707e7126e.pth"
TINY: dict[str, Any] = {"resize": 32, "crop": 32}


def _transform(**settings: Any) -> dict[str, Any]:
    shown: dict[str, Any] = transform_for("m", ModelConfig(**settings)).settings.model_dump()
    return shown


def test_an_imagenet_model_gets_the_statistics_of_imagenet() -> None:
    transform = transform_for("resnet18", ModelConfig(weights="IMAGENET1K_V1"))
    assert transform.settings.mean == (0.485, 0.456, 0.406)
    assert transform.settings.std == (0.229, 0.224, 0.225)
    assert (transform.settings.resize, transform.settings.crop) == (256, 224)


def test_the_transform_is_that_of_the_very_weights() -> None:
    second = _transform(name="resnet50", weights="IMAGENET1K_V2")
    assert (second["resize"], second["crop"]) == (232, 224)
    inception = _transform(name="inception_v3", weights="IMAGENET1K_V1")
    assert (inception["resize"], inception["crop"]) == (342, 299)
    efficientnet = _transform(name="efficientnet_b0", weights="EfficientNet_B0_Weights.IMAGENET1K_V1")
    assert efficientnet["interpolation"] == "bicubic"


def test_weights_from_a_file_take_the_transform_of_the_builder() -> None:
    assert _transform(name="inception_v3", weights="mine.pth")["crop"] == 299
    assert _transform(name="inception_v3")["crop"] == 299


def test_a_configured_transform_holds_over_that_of_the_weights() -> None:
    settings = ModelConfig.model_validate_json('{"weights": "IMAGENET1K_V1", "transform": {"crop": 32}}')
    transform = transform_for("resnet18", settings)
    assert (transform.settings.resize, transform.settings.crop) == (None, 32)


def _config(**settings: Any) -> Config:
    hub = settings.pop("hub", None)
    return config_of(hub=hub, **{"name": SMALL, "transform": TINY} | settings)


def _error(**settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model("m", _config(**settings))
    return caught.value


def test_weights_by_name_come_from_the_hub_folder(hub: Path) -> None:
    torch.manual_seed(5)
    network = torchvision.models.get_model(SMALL)
    saved(network, hub / "checkpoints" / CHECKPOINT)
    model = load_model("m", _config(hub=hub, weights="IMAGENET1K_V1"))
    assert torch.equal(model.module.state_dict()["module.fc.weight"], network.fc.weight)
    assert model.card.classes == 1000 and model.card.embedding_size == 1024


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_downloaded_weights_that_hold_code_run_nothing(hub: Path, pwned: Path) -> None:
    (hub / "checkpoints" / CHECKPOINT).write_bytes(pickle.dumps(Evil()))
    assert _error(hub=hub, weights="IMAGENET1K_V1").field == "models.m.weights"
    assert not pwned.exists()


def test_weights_that_cannot_be_fetched_are_told_with_what_to_do(hub: Path) -> None:
    error = _error(hub=hub, weights="IMAGENET1K_V1")
    assert error.field == "models.m.weights" and "torch_hub.dir" in error.detail


def test_weights_from_a_file_fill_what_the_builder_makes(tmp_path: Path) -> None:
    torch.manual_seed(6)
    network = torchvision.models.get_model(SMALL, num_classes=3)
    path = saved(network, tmp_path / "mine.pth")
    model = load_model("m", _config(weights=path, kwargs={"num_classes": 3}))
    assert torch.equal(model.module.state_dict()["module.fc.weight"], network.fc.weight)


def test_without_weights_every_worker_gets_the_same_ones() -> None:
    torch.manual_seed(1)
    first = load_model("m", _config())
    torch.manual_seed(2)
    second = load_model("m", _config())
    assert first.card == second.card
    assert torch.initial_seed() == 2  # and the process's own generator is left as it was


def test_a_network_without_a_linear_layer_gives_no_embeddings() -> None:
    card = load_model("m", _config(name="squeezenet1_1")).card
    assert Feature.EMBEDDINGS not in (card.outputs or ()) and "head" in card.lacking[Feature.EMBEDDINGS]


def test_an_unknown_builder_is_told_with_the_nearest_known() -> None:
    error = _error(name="resnet81")
    assert error.field == "models.m.name" and "'resnet18'" in error.detail
    with pytest.raises(ModelError, match="nearest known"):
        transform_for("m", ModelConfig(name="resnet81"))


@pytest.mark.parametrize("name", ["segmentation", "fcn_resnet50", "list_models", "resnet18_weights"])
def test_what_is_no_classifier_is_not_built(name: str) -> None:
    assert _error(name=name).field == "models.m.name"


def test_unknown_weights_are_told_with_the_known_ones() -> None:
    error = _error(weights="IMAGENET21K")
    assert error.field == "models.m.weights" and "IMAGENET1K_V1" in error.detail
    with pytest.raises(ModelError, match="IMAGENET1K_V1"):
        transform_for("m", ModelConfig(name=SMALL, weights="IMAGENET21K"))


def test_arguments_that_the_builder_does_not_take_are_told() -> None:
    assert _error(kwargs={"clases": 3}).field == "models.m.kwargs"
    assert "see the setting weights" in _error(kwargs={"weights": None}).detail


def test_a_missing_file_of_weights_is_told(tmp_path: Path) -> None:
    error = _error(weights=tmp_path / "gone.pth")
    assert error.field == "models.m.weights" and str(tmp_path) not in error.detail
