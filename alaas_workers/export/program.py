"""A loaded model as a file that needs torch and none of the model's own code: captured by torch.export, and tried."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alaas.errors import ModelError
from alaas_workers.export.samples import batch_of, named, noise, row_shape
from alaas_workers.models.built import as_path
from alaas_workers.models.loaded import LoadedModel

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

logger = logging.getLogger(__name__)

EXPORTED, SCRIPT = "model.pt2", "model.pt"
_TOLERANCE = 1e-5

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Program:
    """`batch_size`: the most rows at once, always a multiple of `row_multiple`. `shapes`: of one row of each input; -1
    for a free length.
    """

    file: str
    batch_size: int
    row_multiple: int
    shapes: Shapes
    keywords: bool = False  # takes several inputs as keyword arguments, else as one mapping
    runs_own_code: str = ""  # why it is no program and needs ALaaS; "": it is one


def write_program(model: LoadedModel, folder: Path) -> Program:
    """Into `folder`. Raises ModelError for a model that cannot be captured, or that comes out as another."""
    if model.is_program:
        return _copied(model, folder)
    batch = batch_of(model, model.batch_size)
    captured = _captured(model, batch)
    with _quiet():
        torch.export.save(captured, folder / EXPORTED)
        loaded = torch.export.load(folder / EXPORTED).module()
    shapes, takes_any_rows = _shapes(captured, batch)
    multiple = model.row_multiple if takes_any_rows else model.batch_size
    _compare(model, loaded, batch, {multiple, model.batch_size})
    return Program(EXPORTED, model.batch_size, multiple, shapes)


def refused(model: LoadedModel, detail: str) -> ModelError:
    return ModelError(f"model {model.card.name!r}: {detail}", field=f"models.{model.card.name}")


def _copied(model: LoadedModel, folder: Path) -> Program:
    """What came as a program goes as it came: its batches have one size."""
    file = SCRIPT if isinstance(model.eager.module, torch.jit.ScriptModule) else EXPORTED
    shutil.copyfile(as_path(model.settings.path or ""), folder / file)
    batch = batch_of(model, model.batch_size)
    shapes = {name: row_shape(model, tensor) for name, tensor in named(batch)}
    return Program(file, model.batch_size, model.batch_size, shapes, keywords=isinstance(batch, dict))


def _captured(model: LoadedModel, batch: Batch) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(model.eager, (batch,), dynamic_shapes=(_dimensions(model, batch),))
    except Exception as error:  # code that torch.export cannot follow fails in any way
        logger.warning("model %r: torch.export cannot capture it", model.card.name, exc_info=True)
        raise refused(model, f"torch.export cannot capture it ({type(error).__name__}; the log has it)") from None


def _dimensions(model: LoadedModel, batch: Batch) -> Any:
    """Rows and lengths may be as many as they are, as far as the code lets."""

    def free(tensor: torch.Tensor) -> dict[int, Any]:
        sizes = (-1, *row_shape(model, tensor))
        return {place: torch.export.Dim.AUTO for place, size in enumerate(sizes) if size == -1}

    return {name: free(tensor) for name, tensor in batch.items()} if isinstance(batch, dict) else free(batch)


def _shapes(captured: torch.export.ExportedProgram, batch: Batch) -> tuple[Shapes, bool]:
    """Row shapes by name as the program takes them, and whether it takes any number of rows."""
    taken = {node.name: node.meta["val"].shape for node in captured.graph.nodes if node.op == "placeholder"}
    shapes = [[_fixed(size) for size in taken[str(name)]] for name in captured.graph_signature.user_inputs]
    rows = {name: tuple(shape[1:]) for (name, _), shape in zip(named(batch), shapes, strict=True)}
    return rows, all(shape[0] == -1 for shape in shapes)


def _fixed(size: Any) -> int:
    return size if isinstance(size, int) else -1


def _compare(model: LoadedModel, loaded: Any, batch: Batch, sizes: set[int]) -> None:
    """The file against the model, on noise: a capture that misread the code must not serve."""
    for rows in sorted(sizes):
        given = noise(batch, rows)
        with torch.inference_mode():
            check_same(model, model.eager(given), loaded(given), _TOLERANCE)


def check_same(model: LoadedModel, ours: Sequence[Any], theirs: Sequence[Any], tolerance: float) -> None:
    """Raises ModelError where the tensors of the two, in their order, differ by more than rounding."""
    for mine, its in zip(ours, theirs, strict=True):
        if mine is not None and not torch.allclose(mine.float(), its.float(), tolerance, tolerance, equal_nan=True):
            raise refused(model, "what was exported gives other numbers than the model")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.export about itself
        yield
