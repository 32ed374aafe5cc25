"""Small ONNX files, made by torch's exporter, and configurations of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import Config
from tests.support.tiny_models import TRANSFORM, TinyNet, config_of, seeded

OUTPUTS = ("scores", "features")


class WithFeatures(nn.Module):
    """TinyNet that gives (scores, features)."""

    def __init__(self, network: TinyNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.network.body(batch).mean((2, 3))
        return self.network.fc(features), features


def saved_onnx(
    module: nn.Module, path: Path, example: torch.Tensor, *, outputs: Sequence[str] = OUTPUTS, rows: int | None = None
) -> Path:
    """`rows`: of every batch; None: the file takes any number."""
    free = None if rows else {name: {0: "rows"} for name in ("pixels", *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs one more package
        torch.onnx.export(
            module.eval(),
            (example[:1].expand(rows or 2, *example.shape[1:]),),
            path,
            dynamo=False,
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_axes=free,
        )
    return path


def tiny_onnx(folder: Path, rows: int | None = None, module: nn.Module | None = None, **more: Any) -> Path:
    """TinyNet with its features at 16 x 16, unless `module` says otherwise."""
    path = folder / "tiny.onnx"
    return saved_onnx(module or WithFeatures(seeded()), path, torch.zeros(1, 3, 16, 16), rows=rows, **more)


def onnx_config(folder: Path, rows: int | None = None, **settings: Any) -> Config:
    path = folder / "tiny.onnx"
    defaults: dict[str, Any] = {
        "source": "onnx",
        "path": path if path.exists() else tiny_onnx(folder, rows),
        "transform": TRANSFORM,
    }
    return config_of(**defaults | settings)
