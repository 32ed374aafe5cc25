"""An ONNX file of the operator's with the names that an exported model has: nodes are put before and after its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alaas_workers import triton_names as names
from alaas_workers.export.program import refused
from alaas_workers.export.samples import named, outputs_of
from alaas_workers.models.loaded import LoadedModel
from alaas_workers.models.loading import example_batch
from alaas_workers.models.onnx_session import Session

_MAX_BYTES = 2**31 - 1


def write_renamed(session: Session, model: LoadedModel, path: Path, *, finish: bool) -> None:
    """All tensors in one file, as far as one can hold them. `finish`: probabilities, not logits. Raises ModelError."""
    import onnx

    file = onnx.load(session.path)
    if file.ByteSize() > _MAX_BYTES:
        raise refused(model, "an ONNX file of more than 2 GiB cannot be rewritten")
    _rename_inputs(file.graph, session, model)
    _rename_outputs(file.graph, session, model, finish)
    try:
        onnx.checker.check_model(file)
    except onnx.checker.ValidationError as error:
        raise refused(model, f"its ONNX file cannot be rewritten ({str(error).splitlines()[0]:.120})") from None
    onnx.save(file, path)


def _rename_inputs(graph: Any, session: Session, model: LoadedModel) -> None:
    from onnx import TensorProto, helper

    made = []
    batch = dict(named(example_batch(model, 1)))
    for value in list(graph.input):
        if value.name not in session.inputs:  # a weight, in files of old
            continue
        if value.name == "token_type_ids" and value.name not in batch:  # all of the first segment
            made.append(helper.make_node("Sub", ["input_ids", "input_ids"], [value.name]))
            graph.input.remove(value)
            continue
        ours = names.INPUT if names.INPUT in batch else value.name
        kind = TensorProto.FLOAT if ours == names.INPUT else TensorProto.INT64
        if (ours, kind) == (value.name, value.type.tensor_type.elem_type):
            continue
        inner = f"alaas/{value.name}"
        _rewire(graph, value.name, inner)
        made.append(helper.make_node("Cast", [ours], [inner], to=value.type.tensor_type.elem_type))
        value.name = ours
        value.type.tensor_type.elem_type = kind
    for node in reversed(made):
        graph.node.insert(0, node)


def _rewire(graph: Any, old: str, new: str) -> None:
    """Every use of `old`, in graphs within the graph too, is one of `new`."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rewire(inner, old, new)


def _rename_outputs(graph: Any, session: Session, model: LoadedModel, finish: bool) -> None:
    from onnx import TensorProto, helper

    values = []
    for (ours, width), theirs in zip(outputs_of(model), session.outputs.given, strict=True):
        inner = theirs
        if theirs in (names.PROBABILITIES, names.EMBEDDINGS):  # the name is to be another tensor's
            inner = f"alaas/{theirs}"
            _rewire(graph, theirs, inner)
            for node in graph.node:
                node.output[:] = [inner if name == theirs else name for name in node.output]
        graph.node.append(helper.make_node("Cast", [inner], [f"alaas/{ours}/float"], to=TensorProto.FLOAT))
        graph.node.append(_finish(f"alaas/{ours}/float", ours, model, finish))
        values.append(helper.make_tensor_value_info(ours, TensorProto.FLOAT, ["rows", width]))
    del graph.output[:]
    graph.output.extend(values)


def _finish(given: str, ours: str, model: LoadedModel, finish: bool) -> Any:
    from onnx import helper

    if ours == names.EMBEDDINGS:
        return helper.make_node("Flatten", [given], [ours], axis=1)
    if not finish or not model.settings.logits:
        return helper.make_node("Identity", [given], [ours])
    if model.scores_of == "labels":
        return helper.make_node("Sigmoid", [given], [ours])
    return helper.make_node("Softmax", [given], [ours], axis=1)
