"""gRPC to a Triton server, by Triton's own client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from alaas.config.schema import TritonConfig
from alaas_workers.backends.triton_wire import MAX_ANSWER_BYTES, Arrays, arrays, client, raise_for, tensors

if TYPE_CHECKING:
    import numpy.typing as npt

T = TypeVar("T")
_LEAST_PAUSE_MS, _LONGEST_PAUSE_MS = 100, 1000  # gRPC's own would grow to minutes between two tries to connect


class GrpcWire:
    def __init__(self, config: TritonConfig) -> None:
        types = client("grpc")
        scheme, _, address = config.url.rpartition("://")
        self._config, self._types = config, types
        options = {
            "grpc.max_send_message_length": MAX_ANSWER_BYTES,
            "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
            "grpc.initial_reconnect_backoff_ms": _LEAST_PAUSE_MS,
            "grpc.min_reconnect_backoff_ms": _LEAST_PAUSE_MS,
            "grpc.max_reconnect_backoff_ms": _LONGEST_PAUSE_MS,
            "grpc.enable_http_proxy": 0,
        }
        self._client = types.InferenceServerClient(address, ssl=scheme == "grpcs", channel_args=list(options.items()))

    def describe(self, model: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Wire.describe`."""
        ask: dict[str, Any] = {"as_json": True, "client_timeout": self._config.connect_timeout_s}
        metadata = self._called(lambda: self._client.get_model_metadata(model, version, **ask))
        config = self._called(lambda: self._client.get_model_config(model, version, **ask))
        return metadata, config["config"]

    def infer(self, model: str, version: str, inputs: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """See `Wire.infer`."""
        sent = tensors(self._types.InferInput, inputs)
        wanted = [self._types.InferRequestedOutput(name) for name in outputs]
        deadline = self._config.timeout_s
        result = self._called(lambda: self._client.infer(model, sent, version, outputs=wanted, client_timeout=deadline))
        return arrays(result, outputs)

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
            raise_for(str(error.status()).removeprefix("StatusCode."), error.message())
