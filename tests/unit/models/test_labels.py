"""Models whose labels do not exclude one another: a sigmoid of each logit, and nothing that is made of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from alaas.errors import ModelError
from alaas.jobs import OF_PASSES, Feature, ModelCard
from alaas_workers.backends import open_backend
from alaas_workers.models import configured_card, load_model
from alaas_workers.wanted import wanted_by
from strategies import get_strategy
from tests.support.tiny_models import config_of, drop_config, saved, seeded, tiny_config


def labels_config(folder: Path, **settings: Any) -> Any:
    return tiny_config(folder, scores_of="labels", **settings)


def card_of(folder: Path) -> ModelCard:
    return load_model("m", labels_config(folder)).card


def test_each_labels_probability_is_the_sigmoid_of_its_logit(tmp_path: Path) -> None:
    batch = torch.rand(8, 3, 16, 16)
    outputs = load_model("m", labels_config(tmp_path)).outputs(batch)
    with torch.inference_mode():
        expected = torch.sigmoid(seeded()(batch))
    torch.testing.assert_close(outputs[Feature.LABEL_PROBABILITIES], expected)
    assert set(outputs) == {Feature.LABEL_PROBABILITIES, Feature.EMBEDDINGS}


def test_what_the_model_gives_as_probabilities_is_taken_as_it_is(tmp_path: Path) -> None:
    batch = torch.rand(8, 3, 16, 16)
    path = _with_bias(tmp_path, 0.4)  # about 0.4 each, so that their sum is 2
    outputs = load_model("m", labels_config(tmp_path, path=path, logits=False)).outputs(batch)
    assert 1.8 < float(outputs[Feature.LABEL_PROBABILITIES].sum(1).mean()) < 2.2


@pytest.mark.parametrize("bias", [-0.5, 1.5])
def test_scores_that_are_no_probabilities_are_refused(bias: float, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no probabilities") as caught:
        load_model("m", labels_config(tmp_path, path=_with_bias(tmp_path, bias), logits=False))
    assert caught.value.field == "models.m.logits"


def _with_bias(folder: Path, bias: float) -> Path:
    """TinyNet whose head gives about `bias` for all labels."""
    network = seeded()
    with torch.no_grad():
        network.fc.weight.mul_(0.001)
        network.fc.bias.fill_(bias)
    return saved(network, folder / "biased.pt")


def test_one_label_alone_will_do(tmp_path: Path) -> None:
    path = saved(seeded(classes=1), tmp_path / "one.pt")
    card = load_model("m", labels_config(tmp_path, path=path, kwargs={"classes": 1})).card
    assert (card.classes, card.width(Feature.LABEL_PROBABILITIES), card.embedding_size) == (1, 1, 8)
    with pytest.raises(ModelError, match="scores_of: labels"):
        load_model("m", tiny_config(tmp_path, path=path, kwargs={"classes": 1}))


def test_the_card_tells_what_it_gives_and_why_not_the_rest(tmp_path: Path) -> None:
    card = card_of(tmp_path)
    assert (card.classes, card.boxes) == (5, None)
    assert card.outputs == [Feature.LABEL_PROBABILITIES, Feature.EMBEDDINGS]
    assert set(card.lacking) == set(Feature) - set(card.outputs)
    assert {"labels, which do not exclude" in why for why in card.lacking.values()} == {True}


def test_dropout_of_a_multi_label_model_gives_no_passes_over_classes(tmp_path: Path) -> None:
    card = load_model("m", drop_config(tmp_path, scores_of="labels")).card
    assert set(card.lacking) >= OF_PASSES


@pytest.mark.parametrize("name", ["LeastConfidence", "BayesianDisagreement", "DeepFool", "Badge"])
def test_a_strategy_on_classes_is_refused_with_one_that_fits(name: str, tmp_path: Path) -> None:
    wanted = wanted_by(get_strategy(name))
    with pytest.raises(ModelError, match="do not exclude one another; take MultiLabelUncertainty, or"):
        wanted.check_cards([card_of(tmp_path)])


@pytest.mark.parametrize("name", ["MultiLabelUncertainty", "KCenterSampling", "TypiClust", "RandomSampling"])
def test_strategies_on_labels_or_embeddings_are_taken(name: str, tmp_path: Path) -> None:
    wanted_by(get_strategy(name)).check_cards([card_of(tmp_path)])


@pytest.mark.parametrize("name", ["MultiLabelUncertainty", "DetectionUncertainty"])
def test_a_model_of_classes_is_refused_by_strategies_on_labels_and_boxes(name: str, tmp_path: Path) -> None:
    card = load_model("m", tiny_config(tmp_path)).card
    with pytest.raises(ModelError, match="of classes, which exclude one another; take another"):
        wanted_by(get_strategy(name)).check_cards([card])


@pytest.mark.parametrize(("kind", "feature"), [("labels", "label_probabilities"), ("boxes", "box_scores")])
def test_a_null_model_gives_what_it_is_asked_to(kind: str, feature: str) -> None:
    config = config_of(source="null", scores_of=kind, max_boxes=7)
    card, backend = configured_card("m", config), open_backend("m", config)
    assert card.outputs == [Feature(feature), Feature.EMBEDDINGS]
    arrays = [torch.full((3, 4, 4), value, dtype=torch.uint8).numpy() for value in range(20)]
    rows = backend.infer(arrays, [Feature(feature)], lambda: None)[Feature(feature)]
    assert rows.shape == (20, card.width(Feature(feature))) and len(set(map(bytes, rows))) == 20
    assert 0 <= rows.min() < rows.max() < 1
