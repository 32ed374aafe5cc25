"""The two wires to a Triton server, gRPC and HTTP, with one face. Every call has a deadline and every answer a cap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from alaas.config.schema import TritonConfig
from alaas.errors import AlaasError, ModelError
from alaas_workers.backends.protocol import EngineAway

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger(__name__)
T = TypeVar("T")
Arrays = Mapping[str, "npt.NDArray[Any]"]

MAX_ANSWER_BYTES = 2**28
_NOT_TAKEN = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "400", "413")  # the second and the last: too large to send
_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "408", "429", "502", "503", "504")


class NotServed(ModelError):
    """The server answers and has no such model, or no such version."""


class Refused(ModelError):
    """The server does not take what it was sent: another shape or type than its model has."""


class EngineFailed(AlaasError):
    """The server could not compute it. Its log says why."""

    code = "engine_failed"


class NotUnderstood(AlaasError):
    """An answer that is not in the protocol's form."""

    code = "not_understood"


class Wire(Protocol):
    """One per process, for any number of threads. Each call raises EngineAway or one of the four above.

    `version`: "" is the latest.
    """

    def describe(self, model: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The model's metadata and configuration, as Triton's JSON."""

    def infer(self, model: str, version: str, inputs: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """The outputs of those names."""

    def is_ready(self, model: str | None = None) -> bool:
        """Of the server, or of one model."""

    def close(self) -> None: ...


def open_wire(config: TritonConfig) -> Wire:
    """By the URL's prefix; connects at the first call. Raises ModelError where Triton's client is not installed."""
    by_http = config.url.startswith("http")
    module, name = ("triton_http", "HttpWire") if by_http else ("triton_grpc", "GrpcWire")
    wire: Wire = getattr(import_module(f"alaas_workers.backends.{module}"), name)(config)
    return wire


def client(kind: str) -> Any:
    try:
        return import_module(f"tritonclient.{kind}")
    except ImportError:
        raise ModelError(
            "Triton's client is not installed here: pip install 'alaas[triton]'", field="triton.url"
        ) from None


def tensors(make: Any, inputs: Arrays) -> list[Any]:
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in inputs.items():
        tensors.append(make(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    return tensors


def arrays(result: Any, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
    arrays = understood(lambda: [result.as_numpy(name) for name in outputs])
    if any(array is None for array in arrays):
        raise Refused("the Triton server leaves out what it was asked for")
    return arrays


def understood(read: Callable[[], T]) -> T:
    try:
        return read()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        logger.warning("an answer of the Triton server is not understood", exc_info=True)
        raise NotUnderstood("an answer of the Triton server is not understood") from error


def away() -> EngineAway:
    return EngineAway("the Triton server does not answer")


def raise_for(status: str, said: str) -> NoReturn:
    """What the server said goes to the log alone: it may tell of paths and hosts."""
    logger.warning("the Triton server: %s %.1000s", status, said)
    if status in _AWAY:
        raise away()
    if status in ("NOT_FOUND", "404"):
        raise NotServed("the Triton server has no such model or version")
    if status in _NOT_TAKEN:
        raise Refused("the Triton server does not take what it was sent; the worker's log has its words")
    raise EngineFailed("the Triton server failed; the worker's log has its words")
