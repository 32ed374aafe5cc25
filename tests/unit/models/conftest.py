"""Every test here has a torch.hub folder of its own, and no network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """An empty folder for `torch_hub.dir`."""
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there, as on a host without network
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "default-hub"))


@pytest.fixture
def pwned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `tests.support.tiny_models.Evil` makes when it is unpickled."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pwned"
