"""Detectors: their boxes' scores as they would give them by themselves, whatever the images beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.models import load_model, transform_for
from alaas_workers.models.detector import Detector, class_count
from tests.support import detectors
from tests.support.detectors import detector_config, seeded_detector
from tests.support.images import jpeg
from tests.support.tiny_models import config_of, saved, tiny_config

SIZES = [(60, 40), (33, 90), (60, 40), (128, 128), (5, 7)]


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [jpeg(*size, seed=seed) for seed, size in enumerate(SIZES)]


def found_by_hand(network: nn.Module, data: bytes, folder: Path) -> np.ndarray[Any, Any]:
    """The scores of the boxes, as in any script."""
    (folder / "photo.jpg").write_bytes(data)
    pixels = np.array(Image.open(folder / "photo.jpg").convert("RGB"))
    with torch.inference_mode():
        (found,) = network([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])
    scores: np.ndarray[Any, Any] = found["scores"].numpy()
    return scores


def inferred(config: Any, photos: list[bytes]) -> dict[Feature, np.ndarray[Any, Any]]:
    transform = transform_for("m", config.models["m"])
    backend = open_backend("m", config)
    try:
        arrays = [transform.preprocess(data, SourcesConfig()) for data in photos]
        return dict(backend.infer(arrays, [Feature.BOX_SCORES, Feature.EMBEDDINGS], lambda: None))
    finally:
        backend.close()


def test_images_of_any_size_get_the_scores_that_the_detector_gives_by_itself(
    photos: list[bytes], tmp_path: Path
) -> None:
    rows = inferred(detector_config(tmp_path, max_boxes=150), photos)[Feature.BOX_SCORES]
    network = seeded_detector()
    for row, data in zip(rows, photos, strict=True):
        expected = found_by_hand(network, data, tmp_path)
        assert 3 < len(expected) < 150 and row.shape == (150,)
        np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-6)
        assert (row[len(expected) :] == 0).all() and (np.diff(row) <= 0).all()


def test_an_images_rows_do_not_depend_on_the_images_beside_it(photos: list[bytes], tmp_path: Path) -> None:
    config = detector_config(tmp_path)
    together, alone = inferred(config, photos), inferred(config, photos[2:3])
    assert all(alone[feature][0].tobytes() == together[feature][2].tobytes() for feature in alone)
    backwards = inferred(config, photos[::-1])
    assert all(backwards[feature][::-1].tobytes() == together[feature].tobytes() for feature in together)


def test_only_the_highest_scores_are_kept(photos: list[bytes], tmp_path: Path) -> None:
    more, fewer = (inferred(detector_config(tmp_path, max_boxes=count), photos) for count in (50, 4))
    np.testing.assert_array_equal(more[Feature.BOX_SCORES][:, :4], fewer[Feature.BOX_SCORES])


def test_the_embedding_is_the_mean_of_the_backbones_maps(tmp_path: Path) -> None:
    model = load_model("m", detector_config(tmp_path))
    image = torch.rand(1, 3, 48, 64)
    network = seeded_detector()
    with torch.inference_mode():
        maps = network.backbone(network.transform([image[0]])[0].tensors)  # type: ignore[operator]
        torch.testing.assert_close(model.outputs(image)[Feature.EMBEDDINGS], maps.mean((2, 3)))


def test_the_card_tells_boxes_and_classes_and_why_the_rest_is_lacking(tmp_path: Path) -> None:
    card = load_model("m", detector_config(tmp_path)).card
    assert (card.classes, card.boxes, card.embedding_size, card.input_size) == (3, 100, 8, None)
    assert card.outputs == [Feature.BOX_SCORES, Feature.EMBEDDINGS]
    assert set(card.lacking) == set(Feature) - set(card.outputs)
    assert "boxes that it finds" in card.lacking[Feature.PROBABILITIES]


def test_the_number_of_boxes_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    of = [load_model("m", detector_config(tmp_path, max_boxes=count)).card.fingerprint for count in (100, 100, 99)]
    assert of[0] == of[1] != of[2]


def test_an_image_without_boxes_has_scores_of_zero() -> None:
    network = detectors.tiny_detector(box_score_thresh=1.0).eval()
    scores, embedding = Detector(network, 5)(torch.rand(2, 3, 40, 40))
    assert scores.tolist() == [[0.0] * 5] * 2 and embedding is not None


def test_detectors_with_one_stage_are_taken_too() -> None:
    network = detectors.tiny_retina().eval()
    scores, embedding = Detector(network, 8)(torch.rand(1, 3, 64, 64))
    assert (scores > 0).all() and embedding is not None and embedding.shape == (1, 8)
    assert class_count(network) == 3


def test_torchvisions_own_are_known_by_name_and_fetch_nothing() -> None:
    kwargs = {"num_classes": 4, "min_size": 64, "max_size": 96}
    card = load_model("m", config_of(name="fasterrcnn_mobilenet_v3_large_320_fpn", kwargs=kwargs)).card
    assert card.outputs == [Feature.BOX_SCORES, Feature.EMBEDDINGS]
    assert (card.classes, card.boxes) == (4, 100)


def test_torchvisions_weights_say_that_the_detector_normalises_by_itself() -> None:
    settings = transform_for("m", config_of(name="fasterrcnn_resnet50_fpn", weights="COCO_V1").models["m"]).settings
    assert (settings.resize, settings.crop, settings.mean, settings.std) == (None, None, (0.0,) * 3, (1.0,) * 3)


def test_its_weights_may_come_from_a_file(tmp_path: Path) -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large as build

    path = saved(build(weights=None, weights_backbone=None, num_classes=4), tmp_path / "mine.pth")
    settings: dict[str, Any] = {"name": "ssdlite320_mobilenet_v3_large", "kwargs": {"num_classes": 4}}
    assert load_model("m", config_of(weights=path, **settings)).card.classes == 4


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"transform": {"resize": 64}}, "transform", "normalises by itself"),
        ({"compile": True}, "compile", "another number of boxes"),
        ({"head": "backbone"}, "head", "leave head out"),
        ({"scores_of": None}, "", "with scores_of: boxes"),
        ({"scores_of": "labels"}, "", "with scores_of: boxes"),
    ],
)
def test_settings_that_make_no_sense_for_a_detector_are_refused(
    settings: dict[str, Any], field: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_model("m", detector_config(tmp_path, **settings))
    assert caught.value.field == f"models.m.{field}".rstrip(".")


def test_a_detector_of_torchvision_is_not_taken_for_a_classifier() -> None:
    with pytest.raises(ModelError, match="is a detector") as caught:
        load_model("m", config_of(name="ssdlite320_mobilenet_v3_large", scores_of="classes"))
    assert caught.value.field == "models.m.scores_of"


def test_a_classifier_is_not_taken_for_a_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="as a detector would"):
        load_model("m", tiny_config(tmp_path, scores_of="boxes"))
