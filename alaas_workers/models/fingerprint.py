"""The identity of a model over its weights: two processes that load the same give the same, and any change another."""

from __future__ import annotations

import json
from hashlib import sha256

import torch
from torch import nn

from alaas.config import ModelConfig

VERSION = 2
"""Of what is computed from a model: count up when features of unchanged weights would differ."""


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over every tensor of the state dict: name, dtype, shape and bytes, by name."""
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:  # a module's own extra state
            digest.update(f"{name} {value!r}\n".encode())
    return digest.hexdigest()


def fingerprint(weights: str, architecture: str, settings: ModelConfig, transform_id: str, head: str | None) -> str:
    """SHA-256 over all that the features depend on, apart from the device and the rounding of its kernels."""
    options = [settings.precision, settings.channels_last, settings.compile, settings.logits]
    parts = [VERSION, weights, architecture, options, transform_id, head]
    return sha256(json.dumps(parts).encode()).hexdigest()
