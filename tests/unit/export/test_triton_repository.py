from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from alaas.config import Config, parse_config
from alaas.errors import ConfigError, ModelError
from alaas.jobs import Feature
from alaas_workers import triton_names as names
from alaas_workers.export.triton import Written, export
from alaas_workers.models import load_model
from tests.support.detectors import detector_config
from tests.support.onnx_models import onnx_config
from tests.support.tiny_models import TRANSFORM, Divides, config_of, saved, tiny_config
from tests.support.tiny_texts import text_config

ROOT = Path(__file__).resolve().parents[3]
Export = Callable[..., Written]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def exported(tmp_path: Path) -> Export:
    def exported(config: Config, kind: str = "python") -> Written:
        return export("m", config, tmp_path / "repository", kind)

    return exported


def fields(text: str, key: str) -> list[str]:
    """Values of a key of config.pbtxt, at any depth."""
    return [value.strip('"') for value in re.findall(rf"^ *{key}: (.*)$", text, re.M)]


def parameters(written: Written) -> dict[str, str]:
    text = (written.folder / "config.pbtxt").read_text()
    return dict(zip(fields(text, "key"), fields(text, "string_value"), strict=True))


def test_the_configuration_tells_triton_and_its_clients_what_they_need(tmp_path: Path, exported: Export) -> None:
    groups = [{"count": 2, "kind": "KIND_CPU"}, {"kind": "KIND_GPU", "gpus": [0, 1]}]
    config = tiny_config(tmp_path, batch_size=16, instance_group=groups)
    written = exported(config)
    text = (written.folder / "config.pbtxt").read_text()
    assert text.startswith('name: "m"\nbackend: "python"\nmax_batch_size: 16\n')
    assert 'name: "input"\n  data_type: TYPE_FP32\n  dims: 3\n  dims: 16\n  dims: 16\n' in text
    assert 'name: "probabilities"\n  data_type: TYPE_FP32\n  dims: 5\n' in text
    assert 'name: "embeddings"\n  data_type: TYPE_FP32\n  dims: 8\n' in text
    assert "instance_group {\n  count: 2\n  kind: KIND_CPU\n}\n" in text
    assert "instance_group {\n  count: 1\n  kind: KIND_GPU\n  gpus: 0\n  gpus: 1\n}\n" in text
    assert "dynamic_batching {" in text
    told = parameters(written)
    card = load_model("m", config).card
    assert told[names.TRANSFORM] == card.transform and told[names.MODALITY] == "vision"
    assert told[names.FINGERPRINT] == written.fingerprint


def test_the_fingerprint_follows_the_model_and_is_not_its_own(tmp_path: Path, exported: Export) -> None:
    first = exported(tiny_config(tmp_path, batch_size=8))
    assert re.fullmatch("[0-9a-f]{64}", first.fingerprint) and first.fingerprint != first.card.fingerprint
    assert exported(tiny_config(tmp_path, batch_size=8)).fingerprint == first.fingerprint
    other = tiny_config(tmp_path, batch_size=8, transform={"resize": 16, "crop": 16, "mean": [0.5, 0.5, 0.5]})
    assert exported(other).fingerprint != first.fingerprint
    assert exported(tiny_config(tmp_path, batch_size=8), "onnx").fingerprint != first.fingerprint


def test_the_program_gives_the_bits_of_the_model(tmp_path: Path, exported: Export, images: torch.Tensor) -> None:
    config = tiny_config(tmp_path, batch_size=16)
    written = exported(config)
    batch = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores, features = torch.export.load(written.folder / "1" / "model.pt2").module()(batch)
    ours = load_model("m", config).outputs(batch)
    assert torch.equal(torch.softmax(scores, 1), ours[Feature.PROBABILITIES])
    assert torch.equal(features, ours[Feature.EMBEDDINGS])


def answers(written: Written, **feed: torch.Tensor) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(written.folder / "1" / "model.onnx"))
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, {name: each.numpy() for name, each in feed.items()}), strict=True))


@pytest.mark.parametrize("config", [tiny_config, onnx_config])
def test_an_onnx_file_has_the_names_of_triton(
    tmp_path: Path, exported: Export, images: torch.Tensor, config: Callable[..., Config]
) -> None:
    settings = config(tmp_path, batch_size=16)
    written = exported(settings, "onnx")
    assert 'platform: "onnxruntime_onnx"' in (written.folder / "config.pbtxt").read_text()
    assert [path.name for path in (written.folder / "1").iterdir()] == ["model.onnx"]
    made = answers(written, input=images[:3])
    ours = load_model("m", settings).outputs(images)
    np.testing.assert_allclose(made["probabilities"], ours[Feature.PROBABILITIES][:3], atol=1e-6)
    np.testing.assert_allclose(made["embeddings"], ours[Feature.EMBEDDINGS][:3], atol=1e-6)


@pytest.mark.parametrize("kind", ["python", "onnx"])
def test_labels_go_through_a_sigmoid(tmp_path: Path, exported: Export, images: torch.Tensor, kind: str) -> None:
    config = tiny_config(tmp_path, batch_size=8, scores_of="labels")
    written = exported(config, kind)
    assert parameters(written)[names.SCORES_OF] == "labels"
    if kind == "onnx":
        ours = load_model("m", config).outputs(images)[Feature.LABEL_PROBABILITIES]
        np.testing.assert_allclose(answers(written, input=images)["probabilities"], ours, atol=1e-6)


def test_a_text_model_takes_tokens_of_any_length(tmp_path: Path, exported: Export) -> None:
    written = exported(text_config(tmp_path, batch_size=8))
    text = (written.folder / "config.pbtxt").read_text()
    for name in ("input_ids", "attention_mask"):
        assert f'name: "{name}"\n  data_type: TYPE_INT64\n  dims: -1\n' in text
    tokens = torch.ones(16, 24, dtype=torch.int64)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(written.folder / "1" / "model.pt2").module()
        scores, _ = program({"input_ids": tokens, "attention_mask": tokens})
    assert scores.shape == (16, 4)


def test_a_program_is_copied_and_gets_batches_of_one_size(tmp_path: Path, exported: Export) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script: Any = torch.jit.script(Divides())
        script.save(str(tmp_path / "d.ts"))
    config = config_of(source="file", path=tmp_path / "d.ts", transform=TRANSFORM, batch_size=4)
    written = exported(config)
    assert (written.folder / "1" / "model.pt").read_bytes() == (tmp_path / "d.ts").read_bytes()
    assert parameters(written)[names.ROW_MULTIPLE] == "4"


def test_an_onnx_file_of_one_size_is_filled_up_by_python_alone(tmp_path: Path, exported: Export) -> None:
    config = onnx_config(tmp_path, rows=2, batch_size=8)
    with pytest.raises(ModelError, match="takes batches of 2 only; --format python"):
        exported(config, "onnx")
    written = exported(config)
    assert "max_batch_size: 2\n" in (written.folder / "config.pbtxt").read_text()


def test_what_an_earlier_export_wrote_is_replaced_whole(tmp_path: Path, exported: Export) -> None:
    first = exported(onnx_config(tmp_path, batch_size=8))
    assert (first.folder / "1" / "model.onnx").exists()
    exported(tiny_config(tmp_path, batch_size=8))
    assert sorted(path.name for path in (first.folder / "1").iterdir()) == ["model.pt2", "model.py"]
    assert [path.name for path in first.folder.parent.iterdir()] == ["m"]


@pytest.mark.parametrize("text", [None, 'name: "m"\nbackend: "python"\n'])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, exported: Export, text: str | None) -> None:
    theirs = tmp_path / "repository" / "m"
    theirs.mkdir(parents=True)
    if text is not None:
        (theirs / "config.pbtxt").write_text(text)
    with pytest.raises(ConfigError, match="not written by this command"):
        exported(tiny_config(tmp_path))
    assert [path.name for path in theirs.iterdir()] == ([] if text is None else ["config.pbtxt"])


def test_a_name_becomes_one_that_a_folder_may_have(tmp_path: Path) -> None:
    models = {"../a b/ü": tiny_config(tmp_path).models["m"]}
    config = Config(models=models)
    assert export("../a b/ü", config, tmp_path / "r").folder == tmp_path / "r" / "_a_b_"
    with pytest.raises(ModelError, match="no letter"):
        export("..", Config(models={"..": models["../a b/ü"]}), tmp_path / "r")


class Branches(nn.Module):
    """What it computes depends on the numbers of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16 * 16, 4)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(batch.flatten(1))
        return scores * 2 if scores.sum() > 0 else scores


def branching_config(folder: Path) -> Config:
    path, builder = saved(Branches(), folder / "b.pt"), f"{Path(__file__)}:Branches"
    return config_of(source="file", path=path, builder=builder, transform=TRANSFORM)


def test_code_that_cannot_be_captured_goes_along(tmp_path: Path, exported: Export) -> None:
    written = exported(branching_config(tmp_path))
    assert re.match(r"torch\.export cannot capture it \(GuardOnDataDependent", written.runs_own_code)
    assert sorted(path.name for path in (written.folder / "1").iterdir()) == ["files", "model.json", "model.py"]
    assert parameters(written)[names.PROGRAM] == "model.json"


def test_a_detector_gives_boxes_of_one_image_of_any_size(tmp_path: Path, exported: Export) -> None:
    written = exported(detector_config(tmp_path, max_boxes=7, batch_size=16))
    text = (written.folder / "config.pbtxt").read_text()
    assert "max_batch_size: 1\n" in text and "dims: 3\n  dims: -1\n  dims: -1\n" in text
    assert 'name: "box_scores"\n  data_type: TYPE_FP32\n  dims: 7\n' in text
    assert parameters(written)[names.SCORES_OF] == "boxes"


@pytest.mark.parametrize("config", [branching_config, detector_config])
def test_what_has_no_onnx_file_is_refused_and_leaves_nothing(
    tmp_path: Path, exported: Export, config: Callable[[Path], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", _fails)
    with pytest.raises(ModelError, match="--format python"):
        exported(config(tmp_path), "onnx")
    assert list((tmp_path / "repository").iterdir()) == []


def _fails(*_args: Any, **_options: Any) -> None:
    raise RuntimeError


@pytest.mark.parametrize("source", ["null", "triton"])
def test_what_is_not_computed_here_is_refused(exported: Export, source: str) -> None:
    with pytest.raises(ModelError, match=f"nothing here to export of the source {source}"):
        exported(parse_config({"models": {"m": {"source": source}}, "triton": {"url": "localhost:1"}}))


def test_model_py_knows_the_words_that_the_configuration_uses() -> None:
    """It runs where no part of ALaaS is, so it repeats them."""
    tree = ast.parse((ROOT / "alaas_workers" / "export" / "triton_python_model.py").read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    known = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    assert {word for word in words if word.startswith("alaas_")} <= known
    assert {names.INPUT, names.PROBABILITIES, names.BOX_SCORES, names.EMBEDDINGS} <= words
