"""Small networks and configurations of them: what tests of models and backends load in milliseconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import Config, parse_config

BUILDER = "tests.support.tiny_models:TinyNet"
DROP_BUILDER = "tests.support.tiny_models:DropNet"
TRANSFORM: dict[str, Any] = {"resize": 16, "crop": 16}


class TinyNet(nn.Module):
    """Two convolutions and a linear head `fc` over `width` numbers; takes images of any size.

    Of fewer numbers than 8, a row's rounding depends on its place in the batch.
    """

    def __init__(self, classes: int = 5, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, width, 3))
        self.fc = nn.Linear(width, classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.body(batch).mean((2, 3)))
        return scores


class DropNet(nn.Module):
    """Drops channels and then numbers; its normalisation would tell if it were not in eval."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.drop(self.body(batch).mean((2, 3))))
        return scores


class FlatNet(nn.Module):
    """Takes 16 x 16 images only."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16 * 16, 4)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(batch.flatten(1))
        return scores


class Divides(nn.Module):
    """Gives NaN for a black image and Inf for others that are dark at their first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        first, mean = batch[:, 0, 0, 0], batch.mean((1, 2, 3))
        return torch.stack([mean / first, self.scale + first], 1)


class Silent(TinyNet):
    """Gives one row whatever the batch."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return super().forward(batch)[:1]


class Evil:
    """Makes the folder 'pwned' when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def saved(module: nn.Module, path: Path) -> Path:
    torch.save(module.state_dict(), path)
    return path


def seeded(seed: int = 0, **kwargs: int) -> TinyNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyNet(**kwargs).eval()


def config_of(model: str = "m", /, *, hub: Path | None = None, **settings: Any) -> Config:
    """A configuration of one model; paths may be given as such."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    raw: dict[str, Any] = {"models": {model: plain}}
    if hub is not None:
        raw["torch_hub"] = {"dir": str(hub)}
    return parse_config(raw)


def drop_config(folder: Path, **settings: Any) -> Config:
    """DropNet from a state dict in `folder`, at 16 x 16, with three passes."""
    path = folder / "drop.pt"
    if not path.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            saved(DropNet(), path)
    defaults: dict[str, Any] = {"path": path, "builder": DROP_BUILDER, "passes": 3}
    return tiny_config(folder, **defaults | settings)


def tiny_config(folder: Path, **settings: Any) -> Config:
    """TinyNet from a state dict in `folder`, at 16 x 16."""
    path = folder / "tiny.pt"
    if not path.exists():
        saved(seeded(), path)
    defaults: dict[str, Any] = {"source": "file", "path": path, "builder": BUILDER, "transform": TRANSFORM}
    return config_of(**defaults | settings)
