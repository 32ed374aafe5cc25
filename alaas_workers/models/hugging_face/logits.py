"""A classifier of transformers as a plain module: a batch in, its logits out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Logits(nn.Module):
    """Of `model`, called as it is: with one tensor, or with several by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        return self.model(*tensors, **named).logits
