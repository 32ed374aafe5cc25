"""Stochastic passes: dropout alone is active, with one mask for all rows of a batch (ADR 0009).

Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation"; consistent masks as in Kirsch, van Amersfoort and
Gal 2019, "BatchBALD". A mask depends on the pass, the layer, its call and its shape (of a sequence not on its
length), so that a row depends on its array alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from alaas.jobs import Feature

_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_SATURATION = -1.7580993408473766  # what SELU tends to on the left: alpha dropout sets to it, not to zero
_KEPT_BYTES = 2**28
_Key = tuple[int, int, int, tuple[int, ...]]


def dropout_layers(module: nn.Module) -> dict[int, nn.Module]:
    """The layers of `module` that drop anything, by their place among all dropout layers."""
    # The base of all variants has no public name.
    layers = [each for each in module.modules() if isinstance(each, nn.modules.dropout._DropoutNd)]
    return {number: layer for number, layer in enumerate(layers) if layer.p > 0}


class Masks:
    """What each dropout layer of one copy of a model keeps, by pass. Drawn once, kept on the device up to a bound."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = dropout_layers(module)
        self._kept: dict[_Key, torch.Tensor] = {}
        self._kept_bytes = 0
        self.calls = 0  # of dropout layers in the last pass

    @contextmanager
    def of_pass(self, number: int) -> Iterator[None]:
        """Within it the layers drop what pass `number` drops. The module stays in eval: nothing else changes."""
        self.calls = 0
        with ExitStack() as hooks:
            for place, layer in self._layers.items():
                # A hook and not the layer's own forward, also because attention's fast path skips layers without one.
                hook = layer.register_forward_hook(self._dropping(number, place))
                hooks.callback(hook.remove)
            yield

    def _dropping(self, number: int, place: int) -> Any:
        calls = 0  # a layer that is used twice drops something else each time

        def drop(layer: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            key = (number, place, calls, _mask_shape(layer, output))
            calls += 1
            self.calls += 1
            return _dropped(layer, output, self._mask(key, layer.p, output.device))

        return drop

    def _mask(self, key: _Key, share: float, device: torch.device) -> torch.Tensor:
        if key not in self._kept:
            if self._kept_bytes > _KEPT_BYTES:  # of images of many sizes
                self._kept.clear()
                self._kept_bytes = 0
            *seed, shape = key
            # Of a sequence (1, L, d), L is no part of the seed: draws come row by row, so that the mask of a longer
            # text begins with that of a shorter one, and a pass is the same network for both.
            fixed = shape[2:] if len(shape) == 3 else shape
            # NumPy's draws are the same on every machine; those of a device are not.
            draws = np.random.default_rng([*seed, *fixed]).random(shape, dtype=np.float32)
            self._kept[key] = torch.from_numpy(draws >= share).to(device)
            self._kept_bytes += self._kept[key].nbytes
        return self._kept[key]


def _mask_shape(layer: nn.Module, output: torch.Tensor) -> tuple[int, ...]:
    """One row's, which all rows share; whole channels are dropped together where the layer does so."""
    rest = tuple(output.shape[1:])
    return (1, *rest[:1], *(1 for _ in rest[1:])) if isinstance(layer, _CHANNELWISE) else (1, *rest)


def _dropped(layer: Any, output: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What the layer gives in training, with `kept` as its mask; scaled so that the mean stays."""
    share = float(layer.p)
    if share == 1:
        return torch.zeros_like(output)
    if not isinstance(layer, _ALPHA):
        return output * (kept.to(output.dtype) / (1 - share))
    # Klambauer et al. 2017, "Self-Normalizing Neural Networks": mean and variance stay.
    scale = 1 / math.sqrt((1 - share) * (1 + share * _SATURATION**2))
    return torch.where(kept, output, _SATURATION) * scale - scale * _SATURATION * share


class PassSums:
    """Adds up passes (N, C) as they come, so that T of them take the memory of one."""

    def __init__(self) -> None:
        self._mean = torch.zeros(())
        self._entropy = torch.zeros(())
        self._count = 0

    def add(self, probabilities: torch.Tensor) -> None:
        rows = probabilities.double()
        entropies = torch.special.entr(rows).sum(1, keepdim=True)
        self._mean = rows if self._count == 0 else self._mean + rows
        self._entropy = entropies if self._count == 0 else self._entropy + entropies
        self._count += 1

    def rows(self) -> torch.Tensor:
        """(N, C + 1) float32: the mean probabilities, then the mean entropy in nats."""
        return (torch.cat([self._mean, self._entropy], 1) / self._count).float()


class Passes:
    """What is wanted of T passes, each given once to `add`."""

    def __init__(self, wanted: frozenset[Feature]) -> None:
        self._sums = PassSums() if Feature.PASS_SUMS in wanted else None
        self._each: list[torch.Tensor] | None = [] if Feature.PASSES in wanted else None

    def add(self, probabilities: torch.Tensor) -> None:
        if self._sums is not None:
            self._sums.add(probabilities)
        if self._each is not None:
            self._each.append(probabilities)

    def features(self) -> dict[Feature, torch.Tensor]:
        made = {} if self._sums is None else {Feature.PASS_SUMS: self._sums.rows()}
        return made if self._each is None else made | {Feature.PASSES: torch.cat(self._each, 1)}
