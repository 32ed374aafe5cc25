"""HuggingFace's image classifiers: their own pixels, scores and embeddings; and what ours cannot do is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from alaas.config import TransformConfig
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.models import load_model, transform_for
from alaas_workers.models.hugging_face.image_settings import as_transform
from alaas_workers.models.timm_data import UnlikeOurs
from tests.support.images import jpeg
from tests.support.tiny_models import config_of
from tests.support.tiny_vision import PROCESSORS, SIZES, image_model, image_processor, write_image_model

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'alaas[vision]'")

PHOTOS = [(200, 150), (150, 333), (640, 480), (97, 64), (33, 34)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write_image_model(tmp_path_factory.mktemp(kind), kind) for kind in SIZES}


def hugging_face(folder: Path, **settings: Any) -> Any:
    return config_of(source="huggingface", repo=folder, **settings)


def error_of(folder: Path, **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model("m", hugging_face(folder, **settings))
    return caught.value


def with_settings(folder: Path, **settings: Any) -> Path:
    """Write other settings into the folder's preprocessor_config.json; None removes one."""
    file = folder / "preprocessor_config.json"
    said = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))
    return folder


@pytest.mark.parametrize("kind", PROCESSORS)
def test_inputs_are_those_of_transformers_own_processor(kind: str, folders: dict[str, Path]) -> None:
    """To the last bit where it runs on torch, but for the order in which it normalises (1e-6)."""
    transform = transform_for("m", hugging_face(folders[kind]).models["m"])
    for seed, size in enumerate(PHOTOS):
        data = jpeg(*size, seed=seed)
        made = image_processor(kind)(Image.open(io.BytesIO(data)).convert("RGB"), return_tensors="pt")
        given = transform.to_input([transform.preprocess(data, SourcesConfig())])
        assert isinstance(given, torch.Tensor)
        torch.testing.assert_close(given, made["pixel_values"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_probabilities_are_transformers_own(kind: str, folders: dict[str, Path]) -> None:
    """From the same JPEG through both ways, so that pixels, weights and the order of classes are shown at once."""
    model = load_model("m", hugging_face(folders[kind], channels_last=False))
    data = jpeg(97, 64, seed=1)
    made = image_processor(kind)(Image.open(io.BytesIO(data)).convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        expected = image_model(kind)(**made).logits.softmax(1)
    given = model.transform.to_input([model.transform.preprocess(data, SourcesConfig())] * 8)
    torch.testing.assert_close(model.outputs(given)[Feature.PROBABILITIES][:1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_the_embedding_is_the_pooled_last_hidden_state(kind: str, folders: dict[str, Path]) -> None:
    model = load_model("m", hugging_face(folders[kind]))
    batch = torch.rand(8, 3, *(model.transform.input_size or ()))
    given = model.outputs(batch)[Feature.EMBEDDINGS]
    own = image_model(kind)
    with torch.inference_mode():
        body = own.get_submodule(own.base_model_prefix)(batch)
        of_first_token = kind in ("ViT", "DeiT")
        pooled = body.last_hidden_state[:, 0] if of_first_token else body.pooler_output.flatten(1)
    assert given.shape == (8, model.card.embedding_size)
    torch.testing.assert_close(given, pooled, atol=1e-5, rtol=1e-4)


def test_the_card_tells_classes_and_input_size(folders: dict[str, Path]) -> None:
    card = load_model("m", hugging_face(folders["DeiT"])).card
    assert (card.modality, card.classes, card.input_size, card.embedding_size) == ("vision", 5, [32, 32], 32)
    assert card.outputs is not None and set(card.outputs) >= {Feature.PROBABILITIES, Feature.EMBEDDINGS}


def test_its_problem_type_says_that_labels_do_not_exclude_one_another(tmp_path: Path) -> None:
    folder = write_image_model(tmp_path, problem_type="multi_label_classification")
    model = load_model("m", hugging_face(folder))
    assert model.card.outputs == [Feature.LABEL_PROBABILITIES, Feature.EMBEDDINGS]
    batch = torch.rand(8, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.sigmoid(image_model("ViT")(batch).logits)
    torch.testing.assert_close(model.outputs(batch)[Feature.LABEL_PROBABILITIES], expected, atol=1e-5, rtol=1e-4)


def test_the_configuration_may_say_otherwise(tmp_path: Path) -> None:
    folder = write_image_model(tmp_path, problem_type="multi_label_classification")
    card = load_model("m", hugging_face(folder, scores_of="classes")).card
    assert card.outputs is not None and Feature.PROBABILITIES in card.outputs


def test_its_settings_are_read_without_transformers_and_timm(folders: dict[str, Path]) -> None:
    program = (
        "import sys\nfrom alaas.config import parse_config\nfrom alaas_workers.models import transform_for\n"
        f"one = {{'source': 'huggingface', 'repo': {str(folders['DeiT'])!r}}}\n"
        "config = parse_config({'models': {'m': one}})\n"
        "print(transform_for('m', config.models['m']).input_size, {'torch', 'transformers', 'timm'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "(32, 32) set()", ran.stderr


def test_a_folder_without_its_processor_needs_a_transform(tmp_path: Path) -> None:
    folder = write_image_model(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    error = error_of(folder)
    assert error.field == "models.m.transform" and "give transform" in error.detail
    assert load_model("m", hugging_face(folder, transform={"resize": [32, 32]})).card.classes == 5


def test_a_processor_that_does_more_than_its_file_says_is_found_out(tmp_path: Path) -> None:
    """This one swaps red and blue unless its file says that it does not."""
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    folder = with_settings(write_image_model(tmp_path), image_processor_type="MobileViTImageProcessor", **settings)
    error = error_of(folder)
    assert error.field == "models.m.transform" and "gives other pixels" in error.detail


def test_a_processor_with_a_rule_of_its_own_is_followed(tmp_path: Path) -> None:
    """Levit resizes to 8/7 of the size that the file tells."""
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    folder = with_settings(write_image_model(tmp_path), image_processor_type="LevitImageProcessor", **settings)
    assert load_model("m", hugging_face(folder)).card.input_size == [32, 32]


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    import transformers

    transformers.ViTModel(transformers.ViTConfig(**SIZES["ViT"])).save_pretrained(tmp_path)
    image_processor("ViT").save_pretrained(tmp_path)
    error = error_of(tmp_path)
    assert error.field == "models.m.repo" and "no classifier" in error.detail


SAID: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 24, "width": 32},
    "resample": 3,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}
TOLD = TransformConfig(
    resize=(24, 32), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bicubic", crop_from="floor"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, {}),
        ({"resample": 0}, {"interpolation": "nearest"}),
        ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"do_resize": False}, {"resize": None}),
        ({"size": 20}, {"resize": (20, 20)}),
        ({"size": 20, "feature_extractor_type": "CLIPFeatureExtractor"}, {"resize": 20}),
        ({"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": 16}, {"resize": 20, "crop": 16}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"resize": 256, "crop": 224}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"resize": (384, 384)}),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.9, "do_center_crop": True, "crop_size": 224},
            {"resize": 248, "crop": 224},
        ),
    ],
)
def test_what_the_file_says_becomes_our_transform(said: dict[str, Any], told: dict[str, Any]) -> None:
    assert as_transform(SAID | said) == TOLD.model_copy(update=told)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"do_pad": True}, "do_pad"),
        ({"include_top": True}, "include_top"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"do_rescale": False}, "from 0 to 1"),
        ({"rescale_factor": 0.0078}, "from 0 to 1"),
        ({"resample": 1}, "resample is 1"),
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": None}, "size is None"),
        ({"size": {"height": 0, "width": 5}}, "holds 0"),
        ({"do_center_crop": True, "crop_size": {"height": 3, "width": 4}}, "squares"),
        ({"image_mean": None}, "image_mean"),
        ({"image_std": [0.5]}, "image_std"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_mean": [0.5, float("nan"), 0.5]}, "image_mean"),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.01}, "resizes to 22400"),
        ({"size": {"shortest_edge": 224}, "crop_pct": "x"}, "crop_pct"),
    ],
)
def test_what_our_transform_cannot_do_is_refused_by_name(said: dict[str, Any], words: str) -> None:
    with pytest.raises(UnlikeOurs, match=words):
        as_transform(SAID | said)


def test_a_folder_that_cannot_be_followed_names_the_setting_that_mends_it(tmp_path: Path) -> None:
    error = error_of(with_settings(write_image_model(tmp_path), do_flip_channel_order=True))
    assert error.field == "models.m.transform" and "do_flip_channel_order; give transform" in error.detail
