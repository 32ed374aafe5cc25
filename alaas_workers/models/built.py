"""What a source gives: a module, and what tells its architecture apart; and what all sources share in building one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import Config, ModelConfig, TransformConfig
from alaas.errors import ModelError
from alaas.jobs import ScoresOf

IMAGENET = TransformConfig(resize=256, crop=224)
"""What ImageNet's models expect where their weights do not tell; mean and standard deviation are the defaults."""

_SEED = 0
_FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class BuildContext:
    """One model of the configuration, and how to name its settings in an error."""

    name: str
    settings: ModelConfig
    config: Config

    @property
    def entry(self) -> str:
        """The builder's or the hub entry's name; the model's own unless it says otherwise."""
        return self.settings.name or self.name

    def error(self, key: str, detail: str) -> ModelError:
        """`detail` reaches users of the API: it names files by their last part only."""
        return ModelError(f"model {self.name!r}: {detail}", field=f"models.{self.name}.{key}")


@dataclass(frozen=True)
class Built:
    """`architecture` goes into the fingerprint beside the weights: the same on every host, so without paths."""

    module: nn.Module
    architecture: str
    is_program: bool = False  # TorchScript or torch.export: no layers to look into, and batches of one size
    scores_of: ScoresOf = "classes"  # as the model itself says; the configuration may say otherwise
    head: str | None = None  # the layer whose input is the embedding, where the source knows; else the last linear one
    classes: int | None = None  # of a detector, whose boxes do not tell how many there are
    logits: bool | None = None  # whether its scores are logits, where the source knows; else the settings say
    gives_embedding: bool = False  # the module returns (scores, embedding), and no head is looked for


def architecture_of(kind: str, name: str, kwargs: dict[str, Any], *digests: str) -> str:
    return json.dumps([kind, name, kwargs, *digests], sort_keys=True)


def as_path(text: str | Path) -> Path:
    return Path(text).expanduser()


def use_hub_folder(config: Config) -> Path:
    """Where torch.hub keeps repositories and weights, with the configured folder made torch's own."""
    if config.torch_hub.dir is not None:
        torch.hub.set_dir(str(as_path(config.torch_hub.dir)))
    return Path(torch.hub.get_dir())


@contextmanager
def same_everywhere() -> Iterator[None]:
    """While a module is built: initial weights are the same in every worker, and a pickle can hold nothing but weights,
    also one that the builder's own code loads.
    """
    before = os.environ.get(_FORCE_WEIGHTS_ONLY)
    os.environ[_FORCE_WEIGHTS_ONLY] = "1"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            yield
    finally:
        if before is None:
            del os.environ[_FORCE_WEIGHTS_ONLY]
        else:
            os.environ[_FORCE_WEIGHTS_ONLY] = before
