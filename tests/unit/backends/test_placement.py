from __future__ import annotations

from typing import Any

import pytest

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas_workers.backends.placement import placements, threads_each


def _settings(device: str = "auto", **group: Any) -> ModelConfig:
    return ModelConfig.model_validate_json(ModelConfig(device=device).model_dump_json()).model_copy(
        update={"instance_group": [ModelConfig().instance_group[0].model_copy(update=group)]}
    )


@pytest.mark.parametrize(
    ("settings", "gpus", "devices"),
    [
        (_settings(), 0, ["cpu"]),
        (_settings(), 1, ["cuda:0"]),
        (_settings(), 2, ["cuda:0", "cuda:1"]),
        (_settings(count=2), 0, ["cpu", "cpu"]),
        (_settings(count=2), 2, ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]),
        (_settings(kind="KIND_CPU", count=3), 2, ["cpu"] * 3),
        (_settings(kind="KIND_GPU", gpus=[1]), 2, ["cuda:1"]),
        (_settings("cpu", kind="KIND_GPU"), 2, ["cpu"]),
        (_settings("cuda"), 2, ["cuda:0"]),
        (_settings("cuda:1", count=2), 2, ["cuda:1", "cuda:1"]),
    ],
)
def test_copies_go_where_the_settings_say(settings: ModelConfig, gpus: int, devices: list[str]) -> None:
    assert placements("m", settings, gpus) == (devices, [])


def test_a_gpu_that_is_not_here_is_the_cpu_with_one_warning() -> None:
    group = _settings(kind="KIND_GPU").instance_group[0]
    settings = ModelConfig().model_copy(update={"instance_group": [group, group]})
    devices, warnings = placements("m", settings, 0)
    assert devices == ["cpu", "cpu"]
    assert len(warnings) == 1 and "runs on the CPU" in warnings[0]


@pytest.mark.parametrize(
    ("settings", "gpus", "field"),
    [
        (_settings("cuda"), 0, "models.m.device"),
        (_settings("cuda:2"), 2, "models.m.device"),
        (_settings(gpus=[3]), 2, "models.m.instance_group"),
    ],
)
def test_a_device_that_is_named_and_not_here_is_refused(settings: ModelConfig, gpus: int, field: str) -> None:
    with pytest.raises(ModelError) as caught:
        placements("m", settings, gpus)
    assert caught.value.field == field


def test_copies_on_the_cpu_share_its_threads() -> None:
    assert threads_each(8, ["cpu"]) == 8
    assert threads_each(8, ["cpu", "cuda:0", "cpu"]) == 4
    assert threads_each(2, ["cpu"] * 5) == 1
    assert threads_each(4, ["cuda:0"]) == 4
