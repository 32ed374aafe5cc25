"""The engine of ONNX files: a session of ONNX Runtime for each copy, and all else as for torch's programs."""

from __future__ import annotations

from alaas_workers.backends.torch_backend import TorchBackend
from alaas_workers.models.loaded import ROW_MULTIPLE, LoadedModel
from alaas_workers.models.onnx_session import usable_gpus


class OnnxBackend(TorchBackend):
    """torch makes a batch of the arrays and the softmax of the logits; between the two it computes nothing."""

    @staticmethod
    def gpus() -> int:
        return usable_gpus()

    @staticmethod
    def row_multiple(model: LoadedModel) -> int:
        """On a CPU the runtime's kernels were seen to round a row alike from one row on; a GPU gets full batches."""
        return min(model.batch_size, ROW_MULTIPLE) if model.device.type == "cpu" else model.batch_size
