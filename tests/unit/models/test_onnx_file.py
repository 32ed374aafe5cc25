from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.models import load_model
from tests.support.onnx_models import WithFeatures, onnx_config, tiny_onnx
from tests.support.tiny_models import TRANSFORM, config_of, seeded

Change = Callable[[Any], None]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., ModelError]:
    def refused(**settings: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            load_model("m", onnx_config(tmp_path, **settings))
        return caught.value

    return refused


def changed(path: Path, change: Change) -> Path:
    model = onnx.load(path, load_external_data=False)
    change(model)
    onnx.save(model, path)
    return path


def kept_apart(path: Path, location: str = "weights.bin") -> Path:
    """With its tensors in a file of their own."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def moved_to(location: str) -> Change:
    """Every tensor of its own file is said to lie in another."""

    def change(model: Any) -> None:
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location

    return change


def test_a_file_gives_what_torch_gives(tmp_path: Path, images: torch.Tensor) -> None:
    model = load_model("m", onnx_config(tmp_path))
    made = model.outputs(images)
    with torch.no_grad():
        scores, features = WithFeatures(seeded())(images)
    torch.testing.assert_close(made[Feature.PROBABILITIES], torch.softmax(scores, 1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(made[Feature.EMBEDDINGS], features, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_a_file_of_batches_of_one_size_takes_any_number(tmp_path: Path, images: torch.Tensor, rows: int) -> None:
    free, fixed = tmp_path / "free", tmp_path / "fixed"
    for folder in (free, fixed):
        folder.mkdir()
    models = [load_model("m", onnx_config(free)), load_model("m", onnx_config(fixed, rows=rows))]
    made = [model.outputs(images)[Feature.PROBABILITIES] for model in models]
    torch.testing.assert_close(made[0], made[1], atol=1e-6, rtol=1e-5)


class Named(nn.Module):
    """Gives its features first, then probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = WithFeatures(seeded())

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, features = self.inner(batch)
        return features, torch.softmax(scores, 1)


def test_outputs_are_taken_by_the_names_of_the_configuration(tmp_path: Path, images: torch.Tensor) -> None:
    path = tiny_onnx(tmp_path, module=Named(), outputs=("f", "p"))
    outputs = {"probabilities": "p", "embeddings": "f"}
    by_name = load_model("m", config_of(source="onnx", path=path, transform=TRANSFORM, outputs=outputs))
    assert (by_name.card.classes, by_name.card.embedding_size) == (5, 8)
    made = by_name.outputs(images)[Feature.PROBABILITIES]
    with torch.no_grad():
        torch.testing.assert_close(made, torch.softmax(seeded()(images), 1), atol=1e-6, rtol=1e-5)
    logits = load_model("m", config_of(source="onnx", path=path, transform=TRANSFORM, outputs={"logits": "p"}))
    assert not torch.allclose(logits.outputs(images)[Feature.PROBABILITIES], made)
    assert logits.card.fingerprint != by_name.card.fingerprint


def test_an_output_named_wrongly_is_refused_with_the_nearest(refused: Callable[..., ModelError]) -> None:
    error = refused(outputs={"logits": "score"})
    assert (error.field, "nearest known: 'scores'" in error.detail) == ("models.m.outputs.logits", True)


def test_a_model_without_a_row_for_each_sample_is_refused(tmp_path: Path, refused: Callable[..., ModelError]) -> None:
    class Maps(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch * 2

    tiny_onnx(tmp_path, module=Maps(), outputs=("maps",))
    assert refused().field == "models.m.outputs"


def test_weights_beside_the_file_belong_to_the_model(tmp_path: Path) -> None:
    path = kept_apart(tiny_onnx(tmp_path))
    first = load_model("m", onnx_config(tmp_path)).card
    again = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-again")
    assert load_model("m", onnx_config(again)).card == first
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[3] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert (
        load_model("m", config_of(source="onnx", path=path, transform=TRANSFORM)).card.fingerprint != first.fingerprint
    )


@pytest.mark.parametrize(
    "location", ["../weights.bin", "{folder}/../weights.bin", "inner/../../weights.bin", "link.bin", ""]
)
def test_weights_elsewhere_are_not_read(tmp_path: Path, refused: Callable[..., ModelError], location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = kept_apart(tiny_onnx(folder))
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    changed(path, moved_to(location.format(folder=folder)))
    error = refused(path=path)
    assert (error.field, "not beneath its folder" in error.detail) == ("models.m.path", True)


@pytest.mark.parametrize("location", ["gone.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_that_are_not_there_are_named(
    tmp_path: Path, refused: Callable[..., ModelError], location: str
) -> None:
    changed(kept_apart(tiny_onnx(tmp_path)), moved_to(location))
    assert "which is not there" in refused().detail


def _hide(model: Any) -> None:
    """A tensor that lies elsewhere, in a graph within a graph."""
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    inner = onnx.helper.make_graph([constant], "inner", [], [onnx.helper.make_tensor_value_info("c", 1, [1])])
    node = onnx.helper.make_node("If", ["scores"], ["x"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)


def test_a_name_deep_in_the_file_is_judged_too(tmp_path: Path, refused: Callable[..., ModelError]) -> None:
    changed(tiny_onnx(tmp_path), _hide)
    assert "'../secret', which is not beneath" in refused().detail


def _operator(model: Any) -> None:
    model.graph.node[0].op_type = "Foo"


def _domain(model: Any) -> None:
    model.graph.node[0].domain = "their.own"


def _opset(model: Any) -> None:
    model.opset_import[0].version = 99


def _version(model: Any) -> None:
    model.ir_version = 99


def _no_graph(model: Any) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_operator, "an operator or an opset that ONNX Runtime"),
        (_domain, "an operator or an opset that ONNX Runtime"),
        (_opset, "an operator or an opset that ONNX Runtime"),
        (_version, "of a newer ONNX"),
        (_no_graph, "holds no graph"),
    ],
)
def test_what_the_runtime_does_not_know_is_said(
    tmp_path: Path, refused: Callable[..., ModelError], change: Change, said: str
) -> None:
    changed(tiny_onnx(tmp_path), change)
    error = refused()
    assert (error.field, said in error.detail) == ("models.m.path", True), error.detail
    assert str(tmp_path) not in error.detail


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x08\x07" * 500, b"<html>"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, refused: Callable[..., ModelError], data: bytes) -> None:
    (tmp_path / "tiny.onnx").write_bytes(data)
    assert "tiny.onnx is no ONNX file" in refused().detail


def test_a_file_that_ends_early_is_refused(tmp_path: Path, refused: Callable[..., ModelError]) -> None:
    path = tiny_onnx(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refused().field == "models.m.path"


def test_a_transform_of_another_size_is_named(tmp_path: Path, refused: Callable[..., ModelError]) -> None:
    tiny_onnx(tmp_path)
    assert refused(transform={"resize": 20, "crop": 20}).field == "models.m.transform"


def test_images_of_a_size_that_the_file_does_not_take_fail_alone(tmp_path: Path) -> None:
    backend = open_backend("m", onnx_config(tmp_path, transform={"resize": 16}))
    arrays = [np.zeros((3, 16, width), np.uint8) for width in (16, 20, 16)]
    rows = backend.infer(arrays, [Feature.PROBABILITIES], lambda: None)[Feature.PROBABILITIES]
    backend.close()
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(("setting", "value"), [("precision", "bf16"), ("compile", True)])
def test_settings_of_torch_are_refused(refused: Callable[..., ModelError], setting: str, value: Any) -> None:
    assert refused(**{setting: value}).field == f"models.m.{setting}"


def test_a_missing_extra_says_how_to_install_it(
    refused: Callable[..., ModelError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'alaas[onnx]'" in refused().detail


def test_a_file_of_half_precision_gets_its_input_in_it(tmp_path: Path, images: torch.Tensor) -> None:
    class Half(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch.flatten(1)[:, :5] * 2

    path = tiny_onnx(tmp_path, module=Half(), outputs=("scores",))

    def halve(model: Any) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t") and attribute.t.data_type == onnx.TensorProto.FLOAT:
                    half = onnx.numpy_helper.to_array(attribute.t).astype("float16")
                    attribute.t.CopyFrom(onnx.numpy_helper.from_array(half))

    model = load_model("m", config_of(source="onnx", path=changed(path, halve), transform=TRANSFORM))
    made = model.outputs(images)[Feature.PROBABILITIES]
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, torch.softmax(Half()(images.half()).float(), 1), atol=1e-3, rtol=1e-3)


class Words(nn.Module):
    """Tokens, their mask and their segments, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        rows = self.table(ids % 100) + self.table(kinds)
        mean: torch.Tensor = (rows * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return mean


def words_onnx(path: Path, names: list[str]) -> Path:
    import warnings

    tokens = torch.ones(2, 8, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Words(), (tokens, tokens, tokens), path, dynamo=False, input_names=names, output_names=["scores"],
            dynamic_axes={name: {0: "rows", 1: "length"} for name in names},
        )  # fmt: skip
    return path


def test_a_text_model_takes_its_inputs_by_name(tmp_path: Path) -> None:
    text: dict[str, Any] = {"source": "onnx", "modality": "text", "text": {"tokenizer": "bytes", "max_length": 64}}
    path = words_onnx(tmp_path / "w.onnx", ["input_ids", "attention_mask", "token_type_ids"])
    backend = open_backend("m", config_of(**text, path=path))
    assert (backend.card.modality, backend.card.classes) == ("text", 4)
    backend.close()
    other = words_onnx(tmp_path / "o.onnx", ["input_ids", "mask", "token_type_ids"])
    with pytest.raises(
        ModelError, match=r"it takes the inputs input_ids, mask, token_type_ids, and the transform makes"
    ):
        load_model("m", config_of(**text, path=other))
