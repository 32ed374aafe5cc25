"""A fleet that serves one network by torch and by ONNX Runtime, with tensors in a file beside the ONNX file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from alaas import Client
from alaas.jobs import Feature
from tests.support import images, tiny_models
from tests.support.fleets import Rig, write_config
from tests.support.onnx_models import WithFeatures, tiny_onnx
from tests.support.tiny_models import TRANSFORM, saved, seeded

POOL, BUDGET = 60, 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx-fleet")


@pytest.fixture(scope="module")
def pool(folder: Path) -> list[str]:
    (folder / "pool").mkdir()
    for number in range(POOL):
        (folder / "pool" / f"{number}.jpg").write_bytes(images.jpeg(20 + number % 2, 16, seed=number))
    return [(folder / "pool" / f"{number}.jpg").as_uri() for number in range(POOL)]


def models(folder: Path) -> dict[str, dict[str, Any]]:
    path = tiny_onnx(folder, module=WithFeatures(seeded(1)))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "bad.onnx").write_bytes(b"no model")
    common: dict[str, Any] = {"batch_size": 16}
    weights = {"path": str(saved(seeded(1), folder / "w.pt")), "builder": f"{tiny_models.__file__}:TinyNet"}
    return {
        "torch": common | {"source": "file", "transform": dict(TRANSFORM)} | weights,
        "onnx": common | {"source": "onnx", "transform": dict(TRANSFORM), "path": str(path)},
        "bad": {"source": "onnx", "path": str(folder / "bad.onnx")},
    }


@pytest.fixture(scope="module")
def client(folder: Path, pool: list[str]) -> Iterator[Client]:
    roots = {"file": {"roots": [str(folder / "pool")]}}
    with Rig(write_config(folder / "fleet", models=models(folder), sources=roots)) as rig, rig.client() as client:
        yield client


@pytest.mark.parametrize("strategy", ["LeastConfidence", "KCenterSampling"])
def test_onnx_runtime_selects_what_torch_selects(client: Client, pool: list[str], strategy: str) -> None:
    chosen = {
        model: client.query_by_uri(pool, budget=BUDGET, strategy=strategy, model=model).report
        for model in ("torch", "onnx")
    }
    ids = {model: [one.id for one in report.selected] for model, report in chosen.items()}
    assert ids["torch"] == ids["onnx"] and len(ids["onnx"]) == BUDGET
    assert chosen["torch"].fingerprint != chosen["onnx"].fingerprint


def test_a_committee_may_have_both(client: Client, pool: list[str]) -> None:
    report = client.query_by_uri(pool, budget=BUDGET, strategy="QueryByCommittee", model=["torch", "onnx"]).report
    assert len(report.selected) == BUDGET
    assert all(abs(one.score) < 1e-5 for one in report.selected)  # two of the same weights do not disagree


def test_the_server_tells_what_is_known_of_it(client: Client, pool: list[str]) -> None:
    client.query_by_uri(pool, budget=1, model="onnx")
    (card,) = [card for card in client.models() if card.name == "onnx"]
    assert (card.modality, card.classes, card.embedding_size, card.input_size) == ("vision", 5, 8, [16, 16])
    assert card.outputs == [Feature.PROBABILITIES, Feature.EMBEDDINGS] and card.device == "cpu"
    assert card.fingerprint is not None and len(card.fingerprint) == 64


def test_a_file_that_is_no_model_ends_the_job_with_the_reason(client: Client, pool: list[str]) -> None:
    with pytest.raises(Exception, match=r"bad\.onnx is no ONNX file, or is corrupt"):
        client.query_by_uri(pool, budget=1, model="bad")
