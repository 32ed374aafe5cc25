"""Opening a backend: whatever goes wrong is told in one sentence, or is waited for."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import torch

from alaas.config import parse_config
from alaas.errors import ModelError
from alaas_workers.backends import EngineAway, open_backend, triton_backend
from alaas_workers.backends.torch_backend import TorchBackend
from alaas_workers.backends.triton_backend import TritonBackend
from alaas_workers.backends.triton_wire import EngineFailed


class _Failing:
    """A server that answers every question with an error of its own."""

    def describe(self, *_: str) -> NoReturn:
        raise EngineFailed("the Triton server failed; the worker's log has its words")

    def close(self) -> None: ...


def test_a_device_without_room_for_the_model_is_told_as_any_model_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> NoReturn:
        raise torch.OutOfMemoryError("tried to allocate /secret/path")

    monkeypatch.setattr(TorchBackend, "__init__", full)
    with pytest.raises(ModelError, match="cannot be loaded here") as caught:
        open_backend("m", parse_config({"models": {"m": {"name": "resnet18"}}}))
    assert caught.value.field == "models.m" and "OutOfMemoryError" in caught.value.detail
    assert "secret" not in caught.value.detail


def test_a_server_that_fails_to_tell_what_it_serves_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server = {"url": "grpc://127.0.0.1:9", "attempts": 1}
    config = parse_config({"triton": server, "models": {"m": {"source": "triton"}}})
    monkeypatch.setattr(triton_backend, "open_wire", lambda _: _Failing())
    with pytest.raises(EngineAway, match="the Triton server failed"):
        TritonBackend("m", config)
