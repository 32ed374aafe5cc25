"""A loaded model as an ONNX file whose inputs and outputs have the names that Triton's clients use."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from alaas_workers import triton_names as names
from alaas_workers.export.onnx_renamed import write_renamed
from alaas_workers.export.program import Program, check_same, refused
from alaas_workers.export.samples import batch_of, named, noise, outputs_of, row_shape
from alaas_workers.models.loaded import ROW_MULTIPLE, LoadedModel
from alaas_workers.models.onnx_session import Session

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

logger = logging.getLogger(__name__)
FILE = "model.onnx"
_TOLERANCE = 1e-4


class _Whole(nn.Module):
    """Tensors in, in the order of their names; what the file is to give out. `finish`: probabilities, not logits."""

    def __init__(self, model: LoadedModel, inputs: list[str], finish: bool) -> None:
        super().__init__()
        self.eager = model.eager
        self._finish = model.probabilities if finish else _as_it_is
        self._inputs = inputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        by_name = dict(zip(self._inputs, tensors, strict=True))
        scores, embedding = self.eager(by_name.get(names.INPUT, by_name))
        made = [] if scores is None else [self._finish(scores.float())]
        return (*made, *([] if embedding is None else [embedding.flatten(1).float()]))


def _as_it_is(scores: torch.Tensor) -> torch.Tensor:
    return scores


def write_onnx(model: LoadedModel, folder: Path, *, whole: bool) -> Program:
    """Into `folder`. `whole`: nothing else stands between it and Triton's clients: it takes any number of rows, and
    gives probabilities. Raises ModelError for a model that cannot be exported, or that comes out as another.
    """
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        raise refused(model, "ONNX files need the extra: pip install 'alaas[onnx]'")
    if model.scores_of == "boxes":
        raise refused(model, "a detector runs its own code; --format python carries it along")
    own = model.eager.module
    fixed_rows = own.rows if isinstance(own, Session) else None
    if fixed_rows and whole:
        raise refused(model, f"its file takes batches of {fixed_rows} only; --format python fills them up")
    batch = batch_of(model, fixed_rows or model.batch_size)
    if isinstance(own, Session):
        write_renamed(own, model, folder / FILE, finish=whole)
    else:
        _convert(model, batch, folder / FILE)
    _compare(
        _Whole(model, [name for name, _ in named(batch)], whole),
        model,
        batch,
        folder / FILE,
        {fixed_rows} if fixed_rows else {1, model.batch_size},
    )
    shapes = {name: row_shape(model, tensor) for name, tensor in named(batch)}
    if fixed_rows:
        return Program(FILE, fixed_rows, fixed_rows, shapes)
    return Program(FILE, model.batch_size, min(model.batch_size, ROW_MULTIPLE), shapes)


def _convert(model: LoadedModel, batch: Batch, path: Path) -> None:
    inputs = [name for name, _ in named(batch)]
    outputs = [name for name, _ in outputs_of(model)]
    rows = {name: row_shape(model, tensor) for name, tensor in named(batch)} | dict.fromkeys(outputs, ())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the newer exporter needs a package that is often not there
            torch.onnx.export(
                _Whole(model, inputs, finish=True).eval(),
                tuple(tensor.contiguous() for _, tensor in named(batch)),
                path,
                dynamo=False,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes={name: {0: "rows"} | _lengths(row) for name, row in rows.items()},
            )
    except Exception as error:  # code that the exporter cannot follow fails in any way
        logger.warning("model %r: torch.onnx cannot export it", model.card.name, exc_info=True)
        why = f"torch.onnx cannot export it ({type(error).__name__}; the log has it); --format python may do"
        raise refused(model, why) from None


def _lengths(row: tuple[int, ...]) -> dict[int, str]:
    return {place: f"length{place}" for place, size in enumerate(row, 1) if size == -1}


def _compare(ours: _Whole, model: LoadedModel, batch: Batch, path: Path, sizes: set[int]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for rows in sorted(sizes):
        given = noise(batch, rows)
        feed: dict[str, Any] = {name: tensor.contiguous().numpy() for name, tensor in named(given)}
        made = [torch.from_numpy(each) for each in session.run(None, feed)]
        with torch.inference_mode():
            expected = ours(*(tensor for _, tensor in named(given)))
        check_same(model, expected, made, _TOLERANCE)
