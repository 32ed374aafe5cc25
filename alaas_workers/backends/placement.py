"""On which devices the copies of a model go: `device` and `instance_group` of its settings against what is here."""

from __future__ import annotations

from collections.abc import Sequence

from alaas.config import ModelConfig
from alaas.config.models import InstanceGroup
from alaas.errors import ModelError


def placements(name: str, settings: ModelConfig, gpus: int) -> tuple[list[str], list[str]]:
    """One device a copy, and warnings to log. `gpus`: how many are visible here.

    An explicit `device` holds for all copies. KIND_GPU without a GPU goes to the CPU with a warning, as the paper's
    configuration must run on a laptop. As in Triton, a group has `count` copies on each GPU that it may use. Raises
    ModelError for a device that is named and not here.
    """
    if settings.device != "auto":
        count = sum(group.count for group in settings.instance_group)
        return [_named(name, settings.device, gpus)] * count, []
    devices: list[str] = []
    warnings: list[str] = []
    for group in settings.instance_group:
        if group.kind == "KIND_GPU" and gpus == 0:
            warnings.append(f"model {name!r}: KIND_GPU, and there is no GPU here; it runs on the CPU")
        devices += _group(name, group, gpus)
    return devices, warnings[:1]


def _group(name: str, group: InstanceGroup, gpus: int) -> list[str]:
    if group.kind == "KIND_CPU" or gpus == 0:
        return ["cpu"] * group.count
    chosen: Sequence[int] = group.gpus if group.gpus is not None else range(gpus)
    return [_named(name, f"cuda:{gpu}", gpus, "instance_group") for gpu in chosen for _ in range(group.count)]


def _named(name: str, device: str, gpus: int, key: str = "device") -> str:
    index = int(device.partition(":")[2] or 0)
    if device.startswith("cuda") and index >= gpus:
        raise ModelError(
            f"model {name!r}: {device} is not here ({gpus} GPUs are visible); set device: auto",
            field=f"models.{name}.{key}",
        )
    return f"cuda:{index}" if device.startswith("cuda") else device


def threads_each(threads: int, devices: Sequence[str]) -> int:
    """Torch threads for each copy on the CPU, so that together they take the `threads` there are."""
    return max(1, threads // max(1, sum(device == "cpu" for device in devices)))
