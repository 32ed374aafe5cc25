"""A Triton model repository of one model: config.pbtxt with what ALaaS must know of it, and the program with model.py.

The same model and settings give the same fingerprint, another than the torch backend's: another server, with another
torch perhaps, may round otherwise, so that their features are never mixed.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from alaas.config import Config
from alaas.errors import ConfigError, ModelError
from alaas.jobs import ModelCard
from alaas_workers import triton_names as names
from alaas_workers.export.carried import write_carried
from alaas_workers.export.opened import opened_files
from alaas_workers.export.pbtxt import text
from alaas_workers.export.program import EXPORTED, Program, write_program
from alaas_workers.export.triton_config import config_of
from alaas_workers.models import load_model, settings_of
from alaas_workers.models.loaded import LoadedModel

logger = logging.getLogger(__name__)

VERSION = 2
"""Of what an exported model computes: count up when the outputs of an unchanged model would differ."""

_PYTHON_MODEL = Path(__file__).with_name("triton_python_model.py")


@dataclass(frozen=True)
class Written:
    """What was written where, as the command prints it. `runs_own_code`: why Triton needs ALaaS beside it; "": no."""

    folder: Path
    name: str
    card: ModelCard
    fingerprint: str
    runs_own_code: str


def export(name: str, config: Config, repository: Path, kind: str = "python") -> Written:
    """Write `repository`/NAME, which Triton loads as it is. `kind`: "python" or "onnx".

    Replaces what an earlier export wrote, and nothing else. Raises ModelError, and ConfigError for the folder.
    """
    folder = repository / triton_name(name)
    _check_folder(folder)
    source = settings_of(name, config).source
    if source in ("triton", "null"):
        raise ModelError(f"model {name!r}: there is nothing here to export of the source {source}", field="model")
    with opened_files() as opened:
        model = load_model(name, config)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository, prefix=".alaas-") as made:
            whole = Path(made) / folder.name
            (whole / "1").mkdir(parents=True)
            program = _program(model, config, opened, whole / "1", kind)
            fingerprint = fingerprint_of(model.card, "carried" if program.runs_own_code else kind)
            _write(model, program, whole, kind, fingerprint)
            _put_in_place(whole, folder, Path(made) / "old")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror or 'a file could not be copied'}") from None
    return Written(folder, folder.name, model.card, fingerprint, program.runs_own_code)


def triton_name(name: str) -> str:
    """A folder's name, which is the model's name on Triton."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")
    if not plain:
        raise ModelError(f"model {name!r:.80}: its name has no letter that a folder could be called by", field="model")
    return plain


def fingerprint_of(card: ModelCard, kind: str) -> str:
    return sha256(f"triton {kind} {VERSION} {card.fingerprint}".encode()).hexdigest()


def _write(model: LoadedModel, program: Program, folder: Path, kind: str, fingerprint: str) -> None:
    if kind == "python":
        shutil.copyfile(_PYTHON_MODEL, folder / "1" / "model.py")
    config = text(config_of(folder.name, kind, model, program, fingerprint))
    (folder / "config.pbtxt").write_text(config, "utf-8")


def _program(model: LoadedModel, config: Config, opened: Collection[Path], folder: Path, kind: str) -> Program:
    if kind == "onnx" or model.settings.source == "onnx":
        from alaas_workers.export.onnx_program import write_onnx

        return write_onnx(model, folder, whole=kind == "onnx")
    if model.is_program:
        return write_program(model, folder)
    if model.scores_of == "boxes":
        why = "it is a detector, which computes another number of boxes for each image"
    else:
        try:
            return write_program(model, folder)
        except ModelError as error:
            why = error.detail.partition(": ")[2]
        except (
            RuntimeError,
            AssertionError,
        ) as error:  # of the captured program, on batches that the model itself takes
            logger.warning("model %r: what torch.export captured fails", model.card.name, exc_info=True)
            why = f"what torch.export captured fails with {type(error).__name__}"
    (folder / EXPORTED).unlink(missing_ok=True)
    return write_carried(model, config, opened, why, folder)


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
