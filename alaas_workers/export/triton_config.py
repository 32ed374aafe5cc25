"""The config.pbtxt of an exported model, as fields; alaas_workers/triton_names.py says what each parameter means."""

from __future__ import annotations

import json

from alaas.config import ModelConfig
from alaas_workers import triton_names as names
from alaas_workers.export.pbtxt import Field
from alaas_workers.export.program import Program
from alaas_workers.export.samples import named, outputs_of
from alaas_workers.models.loaded import LoadedModel
from alaas_workers.models.loading import example_batch

_QUEUE_DELAY_US = 1000


def config_of(name: str, kind: str, model: LoadedModel, program: Program, fingerprint: str) -> list[Field]:
    parameters = _told(model, fingerprint) | (_own(model, program) if kind == "python" else {})
    return [
        ("name", name),
        ("backend", "python") if kind == "python" else ("platform", "onnxruntime_onnx"),
        ("max_batch_size", program.batch_size),
        *[("input", _tensor(input, type_, program.shapes[input])) for input, type_ in _types(model)],
        *[("output", _tensor(output, "TYPE_FP32", (width,))) for output, width in outputs_of(model)],
        ("dynamic_batching", [("max_queue_delay_microseconds", _QUEUE_DELAY_US)]),
        *_groups(model.settings),
        *[("parameters", [("key", key), ("value", [("string_value", value)])]) for key, value in parameters.items()],
    ]


def _types(model: LoadedModel) -> list[tuple[str, str]]:
    batch = named(example_batch(model, 1))
    return [(name, names.TYPES[str(tensor.dtype).removeprefix("torch.")]) for name, tensor in batch]


def _tensor(name: str, data_type: str, dims: tuple[int, ...]) -> list[Field]:
    return [("name", name), ("data_type", data_type.encode()), *[("dims", size) for size in dims]]


def _groups(settings: ModelConfig) -> list[Field]:
    device, _, number = settings.device.partition(":")
    forced = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}.get(device)
    groups: list[Field] = []
    for group in settings.instance_group:
        kind = forced or group.kind
        chosen = [int(number)] if number else group.gpus or []
        gpus: list[Field] = [("gpus", gpu) for gpu in chosen] if kind != "KIND_CPU" else []
        groups.append(("instance_group", [("count", group.count), ("kind", kind.encode()), *gpus]))
    return groups


def _told(model: LoadedModel, fingerprint: str) -> dict[str, str]:
    """What a client must know: of which model its features would be, and how to make its input."""
    card = model.card
    told = {
        names.FINGERPRINT: fingerprint,
        names.MODEL: card.name,
        names.MODALITY: card.modality,
        names.TRANSFORM: model.transform.id,
        names.TRANSFORM_SETTINGS: json.dumps(model.transform.settings.model_dump(mode="json")),
        names.INPUT_SIZE: json.dumps(card.input_size),
        names.SCORES_OF: model.scores_of,
    }
    widths = {names.CLASSES: card.classes, names.EMBEDDING_SIZE: card.embedding_size}
    return told | {key: str(width) for key, width in widths.items() if width is not None}


def _own(model: LoadedModel, program: Program) -> dict[str, str]:
    """What model.py must know."""
    return {
        names.PROGRAM: program.file,
        names.KEYWORDS: _word(program.keywords),
        names.BATCH_SIZE: str(program.batch_size),
        names.ROW_MULTIPLE: str(program.row_multiple),
        names.LOGITS: _word(model.settings.logits),
        names.PRECISION: model.settings.precision,
        names.CHANNELS_LAST: _word(model.channels_last),
    }


def _word(value: bool) -> str:
    return "true" if value else "false"
