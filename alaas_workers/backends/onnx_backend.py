"""The engine of ONNX files: a session of ONNX Runtime for each copy, and all else as for torch's programs."""

from __future__ import annotations

from alaas_workers.backends.torch_backend import TorchBackend
from alaas_workers.models.onnx_session import usable_gpus


class OnnxBackend(TorchBackend):
    """torch makes a batch of the arrays and the softmax of the logits; between the two it computes nothing.

    A row's rounding could depend on how many rows ONNX Runtime multiplies at once, so all batches have one size.
    """

    @staticmethod
    def gpus() -> int:
        return usable_gpus()
