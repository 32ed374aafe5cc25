"""From the last hidden state to a text's embedding: the mean over its tokens, or as sentence-transformers tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas_workers.models.built import BuildContext
from alaas_workers.models.hugging_face.hub import read_json

_MEAN, _FIRST, _MOST, _LAST = "mean", "cls", "max", "lasttoken"
_OLD_KEYS = {
    "pooling_mode_mean_tokens": _MEAN,
    "pooling_mode_cls_token": _FIRST,
    "pooling_mode_max_tokens": _MOST,
    "pooling_mode_lasttoken": _LAST,
}
_MAX_JSON_BYTES = 2**20


class Pooling(nn.Module):
    """(N, L, d) states and the (N, L) attention mask to (N, d), each row from its own tokens, padding left out."""

    def __init__(self, mode: str = _MEAN, *, normalise: bool = False) -> None:
        super().__init__()
        self._mode, self._normalise = mode, normalise

    @property
    def described(self) -> str:
        """For the fingerprint."""
        return f"pooling {self._mode} {self._normalise}"

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pooled = self._pooled(states.float(), mask)
        return nn.functional.normalize(pooled, dim=1) if self._normalise else pooled

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self._mode == _FIRST:
            return states[:, 0]
        if self._mode == _LAST:
            return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
        weights = mask[:, :, None].to(states.dtype)
        if self._mode == _MOST:
            return states.masked_fill(weights == 0, -torch.inf).amax(1)
        return (states * weights).sum(1) / weights.sum(1)


def pooling_of(context: BuildContext, folder: Path) -> Pooling:
    """As the folder's `modules.json` of sentence-transformers says; without one the mean. Raises ModelError."""
    path = folder / "modules.json"
    if not path.is_file():
        return Pooling()
    mode, normalise = _MEAN, False
    for place, module in enumerate(_modules(context, path)):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            mode = _mode(context, read_json(context.name, folder / str(module.get("path", "")) / "config.json"))
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer" or place > 0:
            raise context.error("repo", f"it holds a sentence-transformers module {kind!r:.80}, which is not served")
    return Pooling(mode, normalise=normalise)


def _modules(context: BuildContext, path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(path.read_bytes()[:_MAX_JSON_BYTES])
    except (OSError, ValueError, RecursionError):
        modules = None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise context.error("repo", "its modules.json cannot be read")
    return modules


def _mode(context: BuildContext, told: dict[str, Any]) -> str:
    modes = [_OLD_KEYS.get(key, key) for key in told if key.startswith("pooling_mode_") and told[key] is True]
    if isinstance(told.get("pooling_mode"), str):
        modes = [told["pooling_mode"]]
    if len(modes) != 1 or modes[0] not in _OLD_KEYS.values():
        raise context.error(
            "repo", "its sentence-transformers pooling is not served (mean, cls, max and lasttoken are)"
        )
    return modes[0]
