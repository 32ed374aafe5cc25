"""What a Triton server tells of a model against what it is used with: judged without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alaas.config import Config
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.backends.served_fit import Fit, Judge
from alaas_workers.backends.served_model import ServedModel
from alaas_workers.models import transform_for
from tests.support.triton_models import triton_config

INPUT = {"name": "input", "datatype": "FP32", "shape": [-1, 3, 16, 16]}


def told(
    inputs: list[dict[str, Any]] | None = None, outputs: list[dict[str, Any]] | None = None, **config: Any
) -> ServedModel:
    scores = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 5]}
    metadata = {"versions": ["1"], "inputs": inputs or [INPUT], "outputs": outputs or [scores]}
    return ServedModel.read(metadata, {"max_batch_size": 8} | config)


def output(name: str, datatype: str = "FP32", shape: tuple[int, ...] = (-1, 5)) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def judge(**settings: Any) -> Judge:
    config: Config = triton_config("localhost:1", "m", **settings)
    return Judge("m", config.models["m"], transform_for("m", config.models["m"]))


def fit(served: ServedModel, **settings: Any) -> Fit:
    return judge(**settings).fit(served)


def parameter(key: str, value: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": value}}}


REFUSED: dict[str, tuple[ServedModel, dict[str, Any], str, str]] = {
    "another size": (told([INPUT | {"shape": [-1, 3, 24, 24]}]), {}, "transform", "takes 3 x 24 x 24"),
    "another rank": (told([INPUT | {"shape": [-1, 768]}]), {}, "transform", "takes 768"),
    "channels last": (told([INPUT | {"shape": [-1, 16, 16, 3]}]), {}, "transform", "takes 16 x 16 x 3"),
    "whole numbers": (told([INPUT | {"datatype": "INT64"}]), {}, "transform", "takes INT64"),
    "a million at once": (told([INPUT | {"shape": [10**6, 3, 16, 16]}], max_batch_size=0), {}, "transform", "at once"),
    "two inputs": (told([INPUT, INPUT | {"name": "mask"}]), {}, "transform", "not one tensor"),
    "no such output": (told(), {"outputs": {"logits": "x"}}, "outputs.logits", "'probabilities' (FP32 5)"),
    "no such embedding": (told(), {"outputs": {"embeddings": "x"}}, "outputs.embeddings", "'x'"),
    "which output": (told(None, [output("a"), output("b")]), {}, "outputs", "say which"),
    "words": (told(None, [output("logits", "BYTES")]), {}, "outputs", "BYTES"),
    "a map": (told(None, [output("logits", shape=(-1, 5, 5))]), {}, "outputs", "5 x 5"),
    "another transform": (told(**parameter("alaas_transform", "0123")), {}, "transform", "exported with another"),
    "another modality": (told(**parameter("alaas_modality", "text")), {}, "modality", "takes text"),
    "scores of classes": (
        told(**parameter("alaas_scores_of", "classes")),
        {"scores_of": "labels"},
        "scores_of",
        "classes",
    ),
    "no boxes": (told(), {"scores_of": "boxes"}, "scores_of", "a detector gives 'box_scores'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_the_setting_to_mend(case: str) -> None:
    served, settings, field, said = REFUSED[case]
    with pytest.raises(ModelError, match="model 'm'") as caught:
        fit(served, **settings)
    assert caught.value.field == f"models.m.{field}"
    assert said in caught.value.detail


def test_outputs_are_found_by_their_words_and_by_the_settings() -> None:
    served = told(None, [output("probabilities"), output("logits"), output("embeddings", shape=(-1, 3, 4))])
    assert fit(served).outputs == ["probabilities", "embeddings"]
    by_logits = fit(served, outputs={"logits": "logits", "embeddings": "probabilities"})
    assert by_logits.outputs == ["logits", "probabilities"] and by_logits.is_logits
    alone = told(None, [output("scores"), output("embeddings")])
    assert [fit(alone, logits=logits).is_logits for logits in (True, False)] == [True, False]


@pytest.mark.parametrize(
    "largest, shape, batch_size, rows",
    [(8, -1, 16, 8), (64, -1, 16, 16), (0, -1, 16, 16), (0, 4, 16, 4), (0, 32, 16, 32)],
)
def test_a_request_has_as_many_rows_as_the_settings_say_and_the_model_takes(
    largest: int, shape: int, batch_size: int, rows: int
) -> None:
    served = told([INPUT | {"shape": [shape, 3, 16, 16]}], max_batch_size=largest)
    assert fit(served, batch_size=batch_size).rows == rows


def test_a_model_may_give_embeddings_alone() -> None:
    made = fit(told(None, [output("embeddings")]))
    assert made.scores is None and made.features == [Feature.EMBEDDINGS]


def test_what_an_exported_model_s_scores_are_of_need_not_be_said_again() -> None:
    assert fit(told(**parameter("alaas_scores_of", "labels"))).features == [Feature.LABEL_PROBABILITIES]


@pytest.mark.parametrize("told_by", ["settings", "server"])
def test_a_detector_gets_one_image_a_request(told_by: str) -> None:
    parameters = parameter("alaas_scores_of", "boxes") if told_by == "server" else {}
    settings = {"scores_of": "boxes"} if told_by == "settings" else {}
    made = fit(told(None, [output("box_scores"), output("embeddings")], **parameters), **settings)
    assert (made.features, made.rows) == ([Feature.BOX_SCORES, Feature.EMBEDDINGS], 1)


def test_an_input_that_may_be_left_out_is_left_out() -> None:
    extra = {"name": "extra", "datatype": "INT32", "shape": [-1, 1]}
    served = told([INPUT, extra], input=[{"name": "input"}, {"name": "extra", "optional": True}])
    transform = transform_for("m", triton_config("localhost:1", "m").models["m"])
    sent = judge().sent(served, transform.to_input([transform.example()]))
    assert list(sent) == ["input"] and sent["input"].dtype == np.float32


def test_a_batch_of_several_tensors_goes_by_their_names_in_the_types_asked_for() -> None:
    import torch

    batch = {name: torch.ones(2, 7, dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    inputs = [{"name": name, "datatype": "INT32", "shape": [-1, -1]} for name in ("input_ids", "attention_mask")]
    sent = judge().sent(told(inputs), batch)
    assert list(sent) == ["input_ids", "attention_mask"]
    assert all(array.dtype == np.int32 and array.shape == (2, 7) for array in sent.values())
    with pytest.raises(ModelError, match="'pixels'"):
        judge().sent(told([*inputs, {"name": "pixels", "datatype": "FP32", "shape": [-1, 1]}]), batch)


def test_copies_are_counted_over_groups_and_gpus_and_bounded() -> None:
    groups = [{"count": 2, "kind": "KIND_GPU", "gpus": [0, 1]}, {"kind": "KIND_CPU"}]
    assert told(instance_group=groups).instances == 5
    assert told(instance_group=[{"count": 10**9}]).instances == 16
    assert told().instances == 1


def test_the_fingerprint_does_not_know_how_many_copies_there_are() -> None:
    settings = triton_config("localhost:1", "m").models["m"]

    def fingerprint(served: ServedModel, **changes: Any) -> str:
        return served.fingerprint(settings.model_copy(update=changes), "t", fit(served))

    plain = fingerprint(told())
    assert plain == fingerprint(told(instance_group=[{"count": 3}]))
    others = [
        told(max_batch_size=4),
        told(backend="onnx"),
        told(**parameter("seed", "1")),
        told(None, [output("logits")]),
    ]
    weights = parameter("alaas_fingerprint", "ab")  # what an exported model says of its weights counts alone
    assert fingerprint(told(**weights)) == fingerprint(told(backend="onnx", **weights)) != plain
    assert len({plain, *map(fingerprint, others), fingerprint(told(), revision="2")}) == 6


@pytest.mark.parametrize(
    "metadata", [{}, {"versions": []}, {"versions": ["1"], "inputs": [], "outputs": []}, {"versions": ["x"]}, []]
)
def test_an_answer_in_another_form_is_a_plain_error(metadata: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError, IndexError)):
        ServedModel.read(metadata, {})
