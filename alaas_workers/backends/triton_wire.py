"""The two wires to a Triton server, gRPC and HTTP, with one face. Every call has a deadline and every answer a cap."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar
from urllib.parse import quote

from alaas.config.schema import TritonConfig
from alaas.errors import AlaasError, ModelError
from alaas_workers.backends.protocol import EngineAway

if TYPE_CHECKING:
    import httpx
    import numpy.typing as npt

logger = logging.getLogger(__name__)
T = TypeVar("T")
Arrays = Mapping[str, "npt.NDArray[Any]"]

MAX_ANSWER_BYTES = 2**28
_LEAST_PAUSE_MS, _LONGEST_PAUSE_MS = 100, 1000  # gRPC's own would grow to minutes between two tries to connect
_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "408", "429", "502", "503", "504")


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
    scheme, _, address = config.url.rpartition("://")
    return HttpWire(config) if scheme.startswith("http") else GrpcWire(config, address, scheme == "grpcs")


class GrpcWire:
    def __init__(self, config: TritonConfig, address: str, encrypted: bool) -> None:
        client = _client("grpc")
        self._config, self._types = config, client
        options = {
            "grpc.max_send_message_length": MAX_ANSWER_BYTES,
            "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
            "grpc.initial_reconnect_backoff_ms": _LEAST_PAUSE_MS,
            "grpc.min_reconnect_backoff_ms": _LEAST_PAUSE_MS,
            "grpc.max_reconnect_backoff_ms": _LONGEST_PAUSE_MS,
            "grpc.enable_http_proxy": 0,
        }
        self._client = client.InferenceServerClient(address, ssl=encrypted, channel_args=list(options.items()))

    def describe(self, model: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Wire.describe`."""
        ask: dict[str, Any] = {"as_json": True, "client_timeout": self._config.connect_timeout_s}
        metadata = self._called(lambda: self._client.get_model_metadata(model, version, **ask))
        config = self._called(lambda: self._client.get_model_config(model, version, **ask))
        return metadata, config["config"]

    def infer(self, model: str, version: str, inputs: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """See `Wire.infer`."""
        sent = _tensors(self._types.InferInput, inputs)
        wanted = [self._types.InferRequestedOutput(name) for name in outputs]
        deadline = self._config.timeout_s
        result = self._called(lambda: self._client.infer(model, sent, version, outputs=wanted, client_timeout=deadline))
        return _arrays(result, outputs)

    def is_ready(self, model: str | None = None) -> bool:
        """See `Wire.is_ready`."""
        deadline = self._config.connect_timeout_s
        if model is None:
            return bool(self._called(lambda: self._client.is_server_ready(client_timeout=deadline)))
        return bool(self._called(lambda: self._client.is_model_ready(model, client_timeout=deadline)))

    def close(self) -> None:
        """What is under way is cancelled."""
        self._client.close()

    def _called(self, call: Callable[[], T]) -> T:
        from tritonclient.utils import InferenceServerException

        try:
            return call()
        except InferenceServerException as error:
            _raise(str(error.status()).removeprefix("StatusCode."), error.message())


class HttpWire:
    """Triton's own client stands on greenlets; of it, only the form of bodies is used here."""

    def __init__(self, config: TritonConfig) -> None:
        import httpx

        self._config, self._types = config, _client("http")
        limits = httpx.Limits(max_connections=64)
        self._client = httpx.Client(base_url=config.url, trust_env=False, limits=limits)

    def describe(self, model: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Wire.describe`."""
        path = _path(model, version)
        metadata, config = (self._json(f"{path}{what}") for what in ("", "/config"))
        return metadata, config

    def infer(self, model: str, version: str, inputs: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """See `Wire.infer`."""
        client = self._types.InferenceServerClient
        sent = _tensors(self._types.InferInput, inputs)
        wanted = [self._types.InferRequestedOutput(name) for name in outputs]
        body, json_size = client.generate_request_body(sent, outputs=wanted)
        headers = {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}
        head, content = self._asked("POST", f"{_path(model, version)}/infer", self._config.timeout_s, body, headers)
        size = head.get("Inference-Header-Content-Length")
        return _arrays(
            _understood(lambda: client.parse_response_body(content, header_length=int(size) if size else None)), outputs
        )

    def is_ready(self, model: str | None = None) -> bool:
        """See `Wire.is_ready`."""
        import httpx

        path = "/v2/health/ready" if model is None else f"{_path(model, '')}/ready"
        try:
            with self._client.stream("GET", path, timeout=self._config.connect_timeout_s) as answer:
                return answer.is_success
        except httpx.HTTPError as error:
            raise _away() from error

    def close(self) -> None:
        self._client.close()

    def _json(self, path: str) -> dict[str, Any]:
        _, content = self._asked("GET", path, self._config.connect_timeout_s)
        return _understood(lambda: dict(json.loads(content)))

    def _asked(
        self,
        method: str,
        path: str,
        deadline_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Headers, bytes]:
        import httpx

        timeout = httpx.Timeout(deadline_s, connect=min(deadline_s, self._config.connect_timeout_s))
        try:
            with self._client.stream(method, path, content=body, headers=headers, timeout=timeout) as answer:
                content = _read(answer, deadline_s)
                if not answer.is_success:
                    _raise(str(answer.status_code), content[:1000].decode(errors="replace"))
                return answer.headers, content
        except httpx.HTTPError as error:
            raise _away() from error


def _read(answer: httpx.Response, deadline_s: float) -> bytes:
    until, parts, size = time.monotonic() + deadline_s, [], 0
    for part in answer.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise EngineFailed("the Triton server's answer is too large")
        if time.monotonic() > until:
            raise _away()
    return b"".join(parts)


def _client(kind: str) -> Any:
    try:
        return import_module(f"tritonclient.{kind}")
    except ImportError:
        raise ModelError(
            "Triton's client is not installed here: pip install 'alaas[triton]'", field="triton.url"
        ) from None


def _tensors(make: Any, inputs: Arrays) -> list[Any]:
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in inputs.items():
        tensors.append(make(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    return tensors


def _arrays(result: Any, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
    arrays = _understood(lambda: [result.as_numpy(name) for name in outputs])
    if any(array is None for array in arrays):
        raise Refused("the Triton server leaves out what it was asked for")
    return arrays


def _understood(read: Callable[[], T]) -> T:
    try:
        return read()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        logger.warning("an answer of the Triton server is not understood", exc_info=True)
        raise NotUnderstood("an answer of the Triton server is not understood") from error


def _path(model: str, version: str) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _away() -> EngineAway:
    return EngineAway("the Triton server does not answer")


def _raise(status: str, said: str) -> NoReturn:
    """What the server said goes to the log alone: it may tell of paths and hosts."""
    logger.warning("the Triton server: %s %.1000s", status, said)
    if status in _AWAY:
        raise _away()
    if status in ("NOT_FOUND", "404"):
        raise NotServed("the Triton server has no such model or version")
    if status in ("INVALID_ARGUMENT", "400"):
        raise Refused("the Triton server does not take what it was sent; the worker's log has its words")
    raise EngineFailed("the Triton server failed; the worker's log has its words")
