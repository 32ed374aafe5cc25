"""An ONNX Runtime session as a torch module: batches in by name, (scores, embedding) out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas_workers.models.built import BuildContext
from alaas_workers.models.onnx_graph import import_onnx
from alaas_workers.models.onnx_outputs import Outputs

logger = logging.getLogger(__name__)
_CUDA = "CUDAExecutionProvider"
_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
}


def usable_gpus() -> int:
    """GPUs that the installed ONNX Runtime can use: the plain package has none, whatever torch sees."""
    try:
        import onnxruntime
    except ImportError:  # which is told when the model is loaded
        return 0
    return torch.cuda.device_count() if _CUDA in onnxruntime.get_available_providers() else 0


def open_session(path: Path, device: str, threads: int, context: BuildContext) -> Any:
    """One copy of the model on `device`. Raises ModelError for a file that the runtime does not take."""
    runtime = import_onnx("onnxruntime", context)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: what it cannot fuse is nobody's concern
    # A thread that spins while it waits takes the core from the decoders beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        # TF32 is not fp32, as in the torch backend.
        providers.insert(0, (_CUDA, {"device_id": device.partition(":")[2] or "0", "use_tf32": "0"}))
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # each kind of damage raises another of the runtime's own
        logger.warning("model %r: ONNX Runtime does not take its file", context.name, exc_info=True)
        raise context.error("path", f"{path.name} {_why(error, runtime.__version__)}; the log says more") from None


def _why(error: Exception, version: str) -> str:
    kind = type(error).__name__
    if kind in ("InvalidGraph", "NotImplemented") or "opset" in str(error) or "not a registered" in str(error):
        return f"has an operator or an opset that ONNX Runtime {version} does not know"
    if "IR version" in str(error):
        return f"is of a newer ONNX than ONNX Runtime {version} reads"
    return f"is not taken by ONNX Runtime {version} ({kind})"


class Session(nn.Module):
    """Moved to a device like any module, which opens a session there; a copy of it is a session of its own.

    A file whose batch has one fixed size, `rows`, gets its batches in parts of that size. `inputs`: by name.
    """

    def __init__(self, path: Path, outputs: Outputs, threads: int, context: BuildContext) -> None:
        super().__init__()
        self.path, self.outputs, self._threads, self._context = path, outputs, threads, context
        self._session: Any = None
        self._open("cpu")

    def forward(self, batch: torch.Tensor | None = None, **named: torch.Tensor) -> Any:
        feed = self._feed(named if batch is None else {self._only_input: batch})
        rows = len(next(iter(feed.values())))
        size = self.rows or rows
        parts = [self._run(feed, start, size) for start in range(0, rows, size)]
        made = [torch.cat(each)[:rows] for each in zip(*parts, strict=True)]
        if self.outputs.embedding is None:
            return made[0]
        return (made[0] if self.outputs.scores is not None else None), made[-1]

    def __deepcopy__(self, _memo: dict[int, Any]) -> Session:
        return Session(self.path, self.outputs, self._threads, self._context)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Session:
        """What `to(device)` comes down to."""
        device = str(fn(torch.empty(0)).device)
        if device != self._device:
            self._open(device)
        return self

    def _open(self, device: str) -> None:
        self._device = device
        self._session = open_session(self.path, device, self._threads, self._context)
        self.inputs = {each.name: each for each in self._session.get_inputs()}
        self._check_inputs()
        first = [each.shape[0] for each in self.inputs.values() if each.shape]
        self.rows = next((size for size in first if isinstance(size, int)), None)  # else any number of rows

    def _check_inputs(self) -> None:
        strange = [name for name, each in self.inputs.items() if each.type not in _TYPES]
        if strange:
            kind = self.inputs[strange[0]].type
            raise self._context.error("path", f"its input {strange[0]!r:.80} is a {kind}, which no transform makes")

    @property
    def _only_input(self) -> str:
        if len(self.inputs) != 1:
            raise self._context.error(
                "path", f"it takes {len(self.inputs)} inputs ({', '.join(self.inputs):.120}), and a sample is one"
            )
        return str(next(iter(self.inputs)))

    def _feed(self, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if "token_type_ids" in self.inputs and "input_ids" in given:  # all of the first segment
            given = {"token_type_ids": torch.zeros_like(given["input_ids"])} | given
        if given.keys() != self.inputs.keys():
            raise self._context.error(
                "path",
                f"it takes the inputs {', '.join(self.inputs):.120}, and the transform makes {', '.join(given):.120}",
            )
        return {name: tensor.cpu().to(_TYPES[self.inputs[name].type]) for name, tensor in given.items()}

    def _run(self, feed: dict[str, torch.Tensor], start: int, size: int) -> list[torch.Tensor]:
        part = {name: _filled(tensor[start : start + size], size).numpy() for name, tensor in feed.items()}
        try:
            return [torch.from_numpy(made) for made in self._session.run(self.outputs.given, part)]
        except Exception as error:  # of the runtime's own kinds, which mean what torch's one means
            raise RuntimeError(str(error)) from error


def _filled(rows: torch.Tensor, size: int) -> torch.Tensor:
    missing = size - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows.contiguous()
