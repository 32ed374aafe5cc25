"""What a Triton server tells of a model it serves, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alaas.config import ModelConfig
from alaas_workers import triton_names as names

if TYPE_CHECKING:
    from alaas_workers.backends.served_fit import Fit

VERSION = 1
"""Of what is made of a server's answers: count up when features of an unchanged model would differ."""

_MAX_INSTANCES = 16


@dataclass(frozen=True)
class Tensor:
    """`shape` without the rows; -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_optional: bool = False


@dataclass(frozen=True)
class ServedModel:
    """`batch`: the rows that one request may have, or must have where `is_batch_fixed`; None: any number.

    `instances`: copies that the server runs at once.
    """

    version: str
    batch: int | None
    is_batch_fixed: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, str]
    engine: tuple[str, str]
    instances: int

    @classmethod
    def read(cls, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> ServedModel:
        """From the JSON of both answers. Raises ValueError, KeyError, TypeError or AttributeError for any other."""
        largest = int(config.get("max_batch_size", 0))
        optional = {each["name"] for each in config.get("input", []) if each.get("optional")}
        inputs, outputs = (
            [
                Tensor(each["name"], each["datatype"], _sizes(each["shape"]), each["name"] in optional)
                for each in tensors
            ]
            for tensors in (metadata["inputs"], metadata["outputs"])
        )
        first = inputs[0].shape[0]  # the rows, told by every tensor
        return cls(
            version=str(max(map(int, metadata["versions"]))),
            batch=largest or (first if first > 0 else None),
            is_batch_fixed=not largest and first > 0,
            inputs=tuple(_without_rows(each) for each in inputs),
            outputs=tuple(_without_rows(each) for each in outputs),
            parameters={key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()},
            engine=(config.get("platform", ""), config.get("backend", "")),
            instances=min(_MAX_INSTANCES, max(1, sum(map(_copies, config.get("instance_group", []))))),
        )

    def fingerprint(self, settings: ModelConfig, transform_id: str, fit: Fit) -> str:
        """SHA-256 over all that the features depend on, as far as the server tells it (docs/triton.md)."""
        told = self.parameters.get(names.FINGERPRINT)
        weights: Any = told or [self.parameters, self.engine, self.batch, _plain(self.inputs), _plain(self.outputs)]
        asked = [fit.outputs, fit.scores is None, fit.is_logits, fit.scores_of]
        parts = ["triton", VERSION, weights, self.version, settings.revision, asked, transform_id]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _without_rows(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.datatype, tensor.shape[1:], tensor.is_optional)


def _copies(group: Mapping[str, Any]) -> int:
    return int(group.get("count", 1)) * max(1, len(group.get("gpus", [])))


def _plain(tensors: tuple[Tensor, ...]) -> list[Any]:
    return sorted([each.name, each.datatype, list(each.shape)] for each in tensors)
