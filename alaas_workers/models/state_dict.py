"""Weights from a file into a module: safetensors, or a pickle of which nothing but tensors is read. Never runs code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas_workers.models.built import BuildContext

State = dict[str, torch.Tensor]

_NESTED = ("state_dict", "model", "model_state_dict")
"""Where training scripts put the state dict beside epoch and optimiser."""


def read_state_dict(path: Path, context: BuildContext, key: str) -> State:
    """The file's tensors by name, `strip_prefix` taken off. Raises ModelError: missing, corrupt, or holding code."""
    check_file(path, context, key)
    raw: Mapping[str, Any]
    raw = _read_safetensors(path, context, key) if path.suffix == ".safetensors" else _read_pickle(path, context, key)
    for nested in _NESTED:
        inner: Any = raw.get(nested)
        if isinstance(inner, Mapping):
            raw = inner
            break
    if not raw or not all(isinstance(value, torch.Tensor) for value in raw.values()):
        raise context.error(key, f"{path.name} holds no state dict (names to tensors)")
    return _without_prefix(dict(raw), context)


def load_into(module: nn.Module, state: State, context: BuildContext, key: str) -> None:
    """Raises ModelError when a name or a shape differs."""
    try:
        wrong = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a shape: the message names the tensors, one a line
        raise context.error(key, f"the weights do not fit: {str(error).splitlines()[-1].strip()}") from None
    if wrong.missing_keys or wrong.unexpected_keys:
        raise context.error(key, _misfit(wrong.missing_keys, wrong.unexpected_keys))


def check_file(path: Path, context: BuildContext, key: str) -> None:
    if not path.is_file():
        raise context.error(key, f"there is no file {path.name}; name one that the workers can read")


def _misfit(missing: list[str], unexpected: list[str]) -> str:
    parts = [f"{what} {names[0]!r}" for what, names in (("misses", missing), ("has unknown", unexpected)) if names]
    sentence = f"the weights do not fit the architecture: the file {' and '.join(parts)}"
    first = unexpected[0] if unexpected else ""
    for name in missing:
        if first.endswith(f".{name}"):
            return f"{sentence}; set strip_prefix: {first.removesuffix(name)!r}"
    return sentence


def _read_safetensors(path: Path, context: BuildContext, key: str) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError):
        raise context.error(key, f"{path.name} is no safetensors file, or is corrupt") from None


def _read_pickle(path: Path, context: BuildContext, key: str) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of pickles that are refused just below
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise context.error(
            key, f"{path.name} is a pickle that holds code, or no weights at all; save model.state_dict() instead"
        ) from None
    except Exception:  # a damaged pickle makes torch's reader stumble in any way
        raise context.error(key, f"{path.name} is no file of weights, or is corrupt") from None
    if not isinstance(raw, Mapping):
        raise context.error(key, f"{path.name} holds no state dict (names to tensors)")
    return raw


def _without_prefix(state: State, context: BuildContext) -> State:
    prefix = context.settings.strip_prefix
    if not prefix:
        return state
    if not any(name.startswith(prefix) for name in state):
        raise context.error("strip_prefix", f"no tensor's name begins with {prefix!r}; one is {next(iter(state))!r}")
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
