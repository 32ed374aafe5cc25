"""A Triton model repository of one model: config.pbtxt with what ALaaS must know of it, and the program with model.py.

The same model and settings give the same fingerprint, another than the torch backend's: another server, with another
torch perhaps, may round otherwise, so that their features are never mixed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from alaas.config import Config
from alaas.errors import ConfigError, ModelError
from alaas.jobs import ModelCard
from alaas_workers import triton_names as names
from alaas_workers.export.pbtxt import text
from alaas_workers.export.program import Program, refused, write_program
from alaas_workers.export.triton_config import config_of
from alaas_workers.models import load_model, settings_of
from alaas_workers.models.loaded import LoadedModel

VERSION = 1
"""Of what an exported model computes: count up when the outputs of an unchanged model would differ."""

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
    source = settings_of(name, config).source
    if source in ("triton", "null"):
        raise ModelError(f"model {name!r}: there is nothing here to export of the source {source}", field="model")
    model = load_model(name, config)
    fingerprint = fingerprint_of(model.card, kind)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository, prefix=".alaas-") as made:
            whole = Path(made) / folder.name
            (whole / "1").mkdir(parents=True)
            _write(model, whole, kind, fingerprint)
            _put_in_place(whole, folder, Path(made) / "old")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    return Written(folder, folder.name, model.card, fingerprint)


def triton_name(name: str) -> str:
    """A folder's name, which is the model's name on Triton."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")
    if not plain:
        raise ModelError(f"model {name!r:.80}: its name has no letter that a folder could be called by", field="model")
    return plain


def fingerprint_of(card: ModelCard, kind: str) -> str:
    return sha256(f"triton {kind} {VERSION} {card.fingerprint}".encode()).hexdigest()


def _write(model: LoadedModel, folder: Path, kind: str, fingerprint: str) -> None:
    program = _program(model, folder / "1", kind)
    if kind == "python":
        shutil.copyfile(_PYTHON_MODEL, folder / "1" / "model.py")
    config = text(config_of(folder.name, kind, model, program, fingerprint))
    (folder / "config.pbtxt").write_text(config, "utf-8")


def _program(model: LoadedModel, folder: Path, kind: str) -> Program:
    if model.scores_of == "boxes":
        raise refused(model, "a detector is served by torch alone")
    if kind == "python" and model.settings.source != "onnx":
        return write_program(model, folder)
    from alaas_workers.export.onnx_program import write_onnx

    return write_onnx(model, folder, whole=kind == "onnx")


def _check_folder(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    config = folder / "config.pbtxt"
    if not config.is_file() or names.FINGERPRINT not in config.read_text("utf-8", "replace"):
        raise ConfigError(f"{folder} is there and was not written by this command; remove it or name another folder")


def _put_in_place(made: Path, folder: Path, aside: Path) -> None:
    if folder.exists():
        folder.rename(aside)
    made.rename(folder)
