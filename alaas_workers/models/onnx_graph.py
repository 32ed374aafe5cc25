"""What an ONNX file refers to: its tensors may lie in other files, which belong to the model's identity.

A name of such a file can be made to point anywhere; only files beneath the model's own folder are read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any

from alaas_workers.models.built import BuildContext

logger = logging.getLogger(__name__)


def digest_of(path: Path, context: BuildContext) -> str:
    """SHA-256 of the file, and of every other file that holds some of its tensors. Raises ModelError."""
    graph = _read(path, context)
    parts = [_digest(path, path, context)]
    for location in sorted(set(_locations(graph))):
        parts.append([location, _digest(_beneath(path, location, context), path, context)])
    return parts[0] if len(parts) == 1 else json.dumps(parts)


def external_files(path: Path, context: BuildContext) -> dict[str, Path]:
    """The other files of the model, by the names that it has for them. Raises ModelError."""
    locations = sorted(set(_locations(_read(path, context))))
    return {location: _beneath(path, location, context) for location in locations}


def _read(path: Path, context: BuildContext) -> Any:
    onnx = import_onnx("onnx", context)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # a damaged message makes the reader stumble in any way
        logger.warning("model %r: its ONNX file cannot be read", context.name, exc_info=True)
        raise context.error("path", f"{path.name} is no ONNX file, or is corrupt") from None
    if not model.graph.node:
        raise context.error("path", f"{path.name} is no ONNX file, or holds no graph")
    return model


def import_onnx(name: str, context: BuildContext) -> Any:
    """`onnx` or `onnxruntime`. Raises ModelError that says how to install it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise context.error("source", f"{name} is not installed here: pip install 'alaas[onnx]'") from None


def _locations(model: Any) -> Iterator[str]:
    """Names of the files in which tensors lie."""
    for tensor in _tensors(model):
        if tensor.data_location == tensor.EXTERNAL:
            yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor, wherever a message of the file holds one: in graphs within graphs, functions, sparse pairs."""
    pending = [model]
    while pending:
        message = pending.pop()
        if message.DESCRIPTOR.full_name == "onnx.TensorProto":
            yield message
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += value if isinstance(value, Iterable) else [value]


def _beneath(path: Path, location: str, context: BuildContext) -> Path:
    """The file of this name beneath the model's folder. Raises ModelError for one that is not."""
    plain = PurePosixPath(location)
    folder = path.parent.resolve()
    file = (folder / plain).resolve()
    inside = location and not plain.is_absolute() and ".." not in plain.parts and file.is_relative_to(folder)
    if not inside or not file.is_file():
        what = "is not there" if inside else "is not beneath its folder"
        raise context.error("path", f"{path.name} keeps tensors in {location!r:.80}, which {what}")
    return file


def _digest(file: Path, path: Path, context: BuildContext) -> Any:
    try:
        with file.open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    except OSError:
        raise context.error("path", f"{path.name} or a file with its tensors cannot be read") from None
