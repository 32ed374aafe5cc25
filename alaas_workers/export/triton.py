"""A Triton model repository of one model: config.pbtxt with what ALaaS must know of it, and the program with model.py.

The same model and settings give the same fingerprint, another than the torch backend's: another server, with another
torch perhaps, may round otherwise, so that their features are never mixed.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from alaas.config import Config, ModelConfig
from alaas.errors import ConfigError, ModelError
from alaas.jobs import ModelCard
from alaas_workers import triton_names as names
from alaas_workers.export.pbtxt import Field, text
from alaas_workers.export.program import Program, named, write_program
from alaas_workers.models import load_model
from alaas_workers.models.loaded import LoadedModel
from alaas_workers.models.loading import example_batch

VERSION = 1
"""Of what an exported model computes: count up when the outputs of an unchanged model would differ."""

_QUEUE_DELAY_US = 1000
_PYTHON_MODEL = Path(__file__).with_name("triton_python_model.py")


@dataclass(frozen=True)
class Written:
    """What was written where, as the command prints it."""

    folder: Path
    name: str
    card: ModelCard
    fingerprint: str


def export(name: str, config: Config, repository: Path, kind: str = "python") -> Written:
    """Write `repository`/NAME, which Triton loads as it is. `kind`: "python" or "onnx".

    Replaces what an earlier export wrote, and nothing else. Raises ModelError, and ConfigError for the folder.
    """
    folder = repository / triton_name(name)
    _check_folder(folder)
    model = load_model(name, config)
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository, prefix=".alaas-") as made:
        whole = Path(made) / folder.name
        (whole / "1").mkdir(parents=True)
        fingerprint = _write(model, whole, kind)
        _put_in_place(whole, folder, Path(made) / "old")
    return Written(folder, folder.name, model.card, fingerprint)


def triton_name(name: str) -> str:
    """A folder's name, which is the model's name on Triton."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")
    if not plain:
        raise ModelError(f"model {name!r:.80}: its name has no letter that a folder could be called by", field="model")
    return plain


def fingerprint_of(card: ModelCard, kind: str) -> str:
    return sha256(f"triton {kind} {VERSION} {card.fingerprint}".encode()).hexdigest()


def _write(model: LoadedModel, folder: Path, kind: str) -> str:
    fingerprint = fingerprint_of(model.card, kind)
    program = write_program(model, folder / "1")
    shutil.copyfile(_PYTHON_MODEL, folder / "1" / "model.py")
    (folder / "config.pbtxt").write_text(text(_config(folder.name, model, program, fingerprint)))
    return fingerprint


def _check_folder(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    config = folder / "config.pbtxt"
    if not config.is_file() or names.FINGERPRINT not in config.read_text("utf-8", "replace"):
        raise ConfigError(f"{folder} is there and was not written by this command; remove it or name another folder")


def _put_in_place(made: Path, folder: Path, aside: Path) -> None:
    made.chmod(0o755)
    if folder.exists():
        folder.rename(aside)
    made.rename(folder)


def _config(name: str, model: LoadedModel, program: Program, fingerprint: str) -> list[Field]:
    settings, card = model.settings, model.card
    outputs = [(names.PROBABILITIES, card.classes), (names.EMBEDDINGS, card.embedding_size)]
    return [
        ("name", name),
        ("backend", "python"),
        ("max_batch_size", model.batch_size),
        *[("input", _input(*one, program.shapes)) for one in _types(model)],
        *[("output", _tensor(output, "TYPE_FP32", (width,))) for output, width in outputs if width is not None],
        ("dynamic_batching", [("max_queue_delay_microseconds", _QUEUE_DELAY_US)]),
        *_groups(settings),
        *[_parameter(*one) for one in _told(model, fingerprint).items()],
        *[_parameter(*one) for one in _own(model, program).items()],
    ]


def _types(model: LoadedModel) -> list[tuple[str, str]]:
    return [(name, str(tensor.dtype).removeprefix("torch.")) for name, tensor in named(example_batch(model, 1))]


def _input(name: str, dtype: str, shapes: dict[str, tuple[int, ...]]) -> list[Field]:
    return _tensor(name, names.TYPES[dtype], shapes[name])


def _tensor(name: str, data_type: str, dims: tuple[int, ...]) -> list[Field]:
    return [("name", name), ("data_type", data_type.encode()), *[("dims", size) for size in dims]]


def _groups(settings: ModelConfig) -> list[Field]:
    forced = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}.get(settings.device.partition(":")[0])
    gpu = settings.device.partition(":")[2]
    groups: list[Field] = []
    for group in settings.instance_group:
        kind = forced or group.kind
        gpus = [int(gpu)] if gpu else group.gpus or []
        chosen: list[Field] = [("gpus", one) for one in gpus] if kind != "KIND_CPU" else []
        groups.append(("instance_group", [("count", group.count), ("kind", kind.encode()), *chosen]))
    return groups


def _parameter(key: str, value: str) -> Field:
    return ("parameters", [("key", key), ("value", [("string_value", value)])])


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
        names.CLASSES: str(card.classes),
    }
    return told | ({} if card.embedding_size is None else {names.EMBEDDING_SIZE: str(card.embedding_size)})


def _own(model: LoadedModel, program: Program) -> dict[str, str]:
    """What model.py must know."""
    return {
        names.PROGRAM: program.file,
        names.KEYWORDS: _word(program.keywords),
        names.BATCH_SIZE: str(model.batch_size),
        names.ROW_MULTIPLE: str(program.row_multiple),
        names.LOGITS: _word(model.settings.logits),
        names.PRECISION: model.settings.precision,
        names.CHANNELS_LAST: _word(model.channels_last),
    }


def _word(value: bool) -> str:
    return "true" if value else "false"
