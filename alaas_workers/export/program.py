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
from alaas_workers.models.built import as_path
from alaas_workers.models.loaded import PLAIN, LoadedModel
from alaas_workers.models.loading import example_batch

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

logger = logging.getLogger(__name__)

EXPORTED, SCRIPT = "model.pt2", "model.pt"
_TOLERANCE = 1e-5

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Program:
    """`row_multiple`: it takes a multiple of so many rows. `shapes`: of one row of each input; -1 for a free length."""

    file: str
    row_multiple: int
    shapes: Shapes
    keywords: bool = False  # takes several inputs as keyword arguments, else as one mapping


def write_program(model: LoadedModel, folder: Path) -> Program:
    """Into `folder`. Raises ModelError for a model that cannot be captured, or that comes out as another."""
    if model.is_program:
        return _copied(model, folder)
    batch = example_batch(model, model.batch_size)
    captured = _captured(model, batch)
    path = folder / EXPORTED
    with _quiet():
        torch.export.save(captured, path)
        loaded = torch.export.load(path).module()
    shapes, batch_is_free = _shapes(captured, batch)
    multiple = model.row_multiple if batch_is_free else model.batch_size
    _compare(model, loaded, batch, [multiple, model.batch_size])
    return Program(EXPORTED, multiple, shapes)


def _copied(model: LoadedModel, folder: Path) -> Program:
    """What came as a program goes as it came: its batches have one size."""
    source = as_path(model.settings.path or "")
    file = SCRIPT if isinstance(getattr(model.module, "module", None), torch.jit.ScriptModule) else EXPORTED
    shutil.copyfile(source, folder / file)
    batch = example_batch(model, model.batch_size)
    free = model.transform.input_size is None
    shapes = {name: _row_shape(tensor, free) for name, tensor in named(batch)}
    return Program(file, model.batch_size, shapes, keywords=isinstance(batch, dict))


def named(batch: Batch) -> list[tuple[str, torch.Tensor]]:
    from alaas_workers.triton_names import INPUT

    return list(batch.items()) if isinstance(batch, dict) else [(INPUT, batch)]


def _row_shape(tensor: torch.Tensor, free: bool) -> tuple[int, ...]:
    """Channels stay, lengths are free where the transform makes no one size."""
    row = tuple(tensor.shape[1:])
    kept = 1 if len(row) == 3 else 0
    return row[:kept] + (-1,) * (len(row) - kept) if free else row


def _captured(model: LoadedModel, batch: Batch) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(model.eager, (batch,), dynamic_shapes=_dimensions(model, batch))
    except Exception as error:  # code that torch.export cannot follow fails in any way
        logger.warning("model %r: torch.export cannot capture it", model.card.name, exc_info=True)
        raise ModelError(
            f"model {model.card.name!r}: torch.export cannot capture it ({type(error).__name__}; the log has it)",
            field=f"models.{model.card.name}",
        ) from None


def _dimensions(model: LoadedModel, batch: Batch) -> Any:
    """The batch may have any size, as far as the code lets; where the transform makes no one size, lengths may too."""
    automatic = torch.export.Dim.AUTO
    count = 1 if model.transform.input_size is not None else None
    if isinstance(batch, dict):
        return ({name: dict.fromkeys(range(count or tensor.ndim), automatic) for name, tensor in batch.items()},)
    return (dict.fromkeys(range(count or batch.ndim), automatic),)


def _shapes(captured: torch.export.ExportedProgram, batch: Batch) -> tuple[Shapes, bool]:
    """Row shapes by name as the program takes them, and whether it takes any number of rows."""
    wanted = captured.graph_signature.user_inputs
    taken = {node.name: node.meta["val"].shape for node in captured.graph.nodes if node.op == "placeholder"}
    shapes = [taken[str(name)] for name in wanted]
    names = [name for name, _ in named(batch)]
    rows = {name: tuple(_fixed(size) for size in shape[1:]) for name, shape in zip(names, shapes, strict=True)}
    return rows, all(_fixed(shape[0]) == -1 for shape in shapes)


def _fixed(size: Any) -> int:
    return size if isinstance(size, int) else -1


def _compare(model: LoadedModel, loaded: Any, batch: Batch, sizes: Sequence[int]) -> None:
    """The file against the model, on noise: a capture that misread the code must not serve."""
    for rows in sizes:
        noise = _noise(batch, rows)
        with torch.inference_mode():
            ours, theirs = model.eager(noise), loaded(noise)
        for mine, its in zip(ours, theirs, strict=True):
            if mine is not None and not torch.allclose(mine.float(), its.float(), _TOLERANCE, _TOLERANCE):
                raise ModelError(
                    f"model {model.card.name!r}: what torch.export captured gives other {PLAIN[0].value}",
                    field=f"models.{model.card.name}",
                )


def _noise(batch: Batch, rows: int) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def like(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():  # tokens and masks: made-up ones could be none at all
            return tensor[:rows]
        layout = torch.channels_last if tensor.ndim == 4 and _is_channels_last(tensor) else torch.contiguous_format
        return torch.randn(tensor[:rows].shape, generator=generator).contiguous(memory_format=layout)

    return {name: like(tensor) for name, tensor in batch.items()} if isinstance(batch, dict) else like(batch)


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.export about itself
        yield
