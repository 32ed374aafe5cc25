"""docs/vision.md, run as it stands; its weights, which would be fetched or trained, are made here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from alaas.client import Client
from alaas.errors import ModelError
from tests.support import images
from tests.support.docs import blocks
from tests.support.fleets import Rig
from tests.support.tiny_vision import write_image_model
from tests.support.users import alaas_command

pytest.importorskip("timm", reason="timm is not installed: pip install 'alaas[vision]'")
POOL = 12


def write_weights(folder: Path) -> None:
    import timm

    write_image_model(folder / "models" / "vit")
    (folder / "weights").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("resnet18").state_dict(), str(folder / "weights" / "resnet18.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's user works: images, weights, and vision.yml."""
    folder = tmp_path_factory.mktemp("vision")
    write_weights(folder)
    (page,) = blocks("vision.md", "yaml")
    own = f"storage: {{data_dir: {folder / 'data'}}}\nsources: {{file: {{roots: [{folder}]}}}}\n"
    (folder / "vision.yml").write_text(page.replace("COCO_V1", "null") + own)
    (folder / "images").mkdir()
    for seed in range(POOL):
        (folder / "images" / f"{seed:02}.jpg").write_bytes(images.jpeg(60 + seed, 50, seed=seed))
    return folder


@pytest.fixture(scope="module")
def rig(folder: Path) -> Iterator[Rig]:
    before = Path.cwd()
    os.chdir(folder)  # the page's paths are taken from there
    try:
        with Rig(folder / "vision.yml") as rig:
            yield rig
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def ran(rig: Rig) -> Iterator[dict[str, Any]]:
    """The names that the page's script leaves behind."""
    names: dict[str, Any] = {}
    for code in blocks("vision.md", "python"):
        exec(code.replace("localhost:8888", rig.server.url), names)  # our own page
    yield names
    names["client"].close()


@pytest.mark.parametrize("name", ["sure", "spread", "tags", "boxes"])
def test_each_kind_of_model_selects_by_a_strategy_that_fits_it(ran: dict[str, Any], name: str) -> None:
    assert len(set(ran[name])) == 3 and set(ran[name]) <= set(ran["pool"])
    assert not ran[name].failed


def test_a_reports_parts_say_what_the_score_of_an_image_is_made_of(ran: dict[str, Any]) -> None:
    tags, boxes = (ran[name].report.selected[0].parts for name in ("tags", "boxes"))
    assert set(tags) == {"predicted_labels", "least_sure_label", "p"}
    assert set(boxes) == {"boxes", "highest_score", "least_sure_score"} and 0 < boxes["boxes"] <= 50


def test_a_strategy_over_classes_is_refused_for_labels_in_the_words_of_the_page(ran: dict[str, Any]) -> None:
    client: Client = ran["client"]
    (shown,) = blocks("vision.md", "pycon")
    with pytest.raises(ModelError) as caught:
        client.query(budget=3, dataset="street", model="tags", strategy="LeastConfidence")
    assert f"ModelError: {caught.value.detail}" == shown.splitlines()[1]


def test_a_detector_is_refused_where_classes_are_needed(ran: dict[str, Any]) -> None:
    client: Client = ran["client"]
    with pytest.raises(ModelError, match="take DetectionUncertainty, or"):
        client.query(budget=3, dataset="street", model="detector", strategy="EntropySampling")
    with pytest.raises(ModelError, match="needs probabilities"):
        client.query(
            budget=3, dataset="street", model="detector", strategy="KCenterSampling", policy={"max_per_class": 1}
        )


def test_a_push_computes_the_scores_that_a_model_gives_ahead(ran: dict[str, Any]) -> None:
    client: Client = ran["client"]
    client.push_data(ran["pool"], dataset="ahead", model="tags")
    job = client.submit_job(budget=2, dataset="ahead", model="tags", strategy="MultiLabelUncertainty")
    assert client.wait(job.id).progress.cached == POOL


def test_the_models_are_listed_with_what_they_give(ran: dict[str, Any]) -> None:
    cards = {card.name: card for card in ran["client"].models()}
    assert {name: (card.classes, card.boxes, card.input_size) for name, card in cards.items()} == {
        "vit": (5, None, [32, 32]),
        "resnet": (1000, None, [224, 224]),
        "tags": (12, None, [224, 224]),
        "detector": (91, 50, None),
    }
    assert {name: card.outputs[0] for name, card in cards.items() if card.outputs} == {
        "vit": "probabilities",
        "resnet": "probabilities",
        "tags": "label_probabilities",
        "detector": "box_scores",
    }


def test_the_pages_commands_run(ran: dict[str, Any], rig: Rig, folder: Path) -> None:
    commands = [line.removeprefix("$ alaas ").split() for line in "".join(blocks("vision.md", "console")).splitlines()]
    assert ["serve", "vision.yml"] in commands and ["models"] in commands
    said = {}
    for words in (["config", "check", "vision.yml"], ["models", "--server", rig.server.url]):
        done = subprocess.run(alaas_command(*words), cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said[words[0]] = done.stdout
    for name in yaml.safe_load((folder / "vision.yml").read_text())["models"]:
        assert name in said["models"]
    assert "label_probabilities, embeddings" in said["models"] and "box_scores, embeddings" in said["models"]
