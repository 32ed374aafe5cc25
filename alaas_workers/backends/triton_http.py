"""HTTP to a Triton server. Triton's own client stands on greenlets; of it, only the form of bodies is used."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from alaas.config.schema import TritonConfig
from alaas_workers.backends.triton_wire import (
    MAX_ANSWER_BYTES,
    Arrays,
    EngineFailed,
    arrays,
    away,
    client,
    raise_for,
    tensors,
    understood,
)

if TYPE_CHECKING:
    import numpy.typing as npt


class HttpWire:
    def __init__(self, config: TritonConfig) -> None:
        self._config, self._types = config, client("http")
        limits, plain = httpx.Limits(max_connections=64), {"accept-encoding": "identity"}
        self._client = httpx.Client(base_url=config.url, trust_env=False, limits=limits, headers=plain)

    def describe(self, model: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Wire.describe`."""
        path = _path(model, version)
        metadata, config = (self._json(f"{path}{what}") for what in ("", "/config"))
        return metadata, config

    def infer(self, model: str, version: str, inputs: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """See `Wire.infer`."""
        form = self._types.InferenceServerClient
        sent = tensors(self._types.InferInput, inputs)
        wanted = [self._types.InferRequestedOutput(name) for name in outputs]
        body, json_size = form.generate_request_body(sent, outputs=wanted)
        headers = {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}
        head, content = self._asked("POST", f"{_path(model, version)}/infer", self._config.timeout_s, body, headers)
        size = head.get("Inference-Header-Content-Length")
        return arrays(
            understood(lambda: form.parse_response_body(content, header_length=int(size) if size else None)), outputs
        )

    def is_ready(self, model: str | None = None) -> bool:
        """See `Wire.is_ready`."""
        path = "/v2/health/ready" if model is None else f"{_path(model, '')}/ready"
        try:
            with self._client.stream("GET", path, timeout=self._config.connect_timeout_s) as answer:
                return answer.is_success
        except httpx.HTTPError as error:
            raise away() from error

    def close(self) -> None:
        self._client.close()

    def _json(self, path: str) -> dict[str, Any]:
        _, content = self._asked("GET", path, self._config.connect_timeout_s)
        return understood(lambda: dict(json.loads(content)))

    def _asked(
        self,
        method: str,
        path: str,
        deadline_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Headers, bytes]:
        timeout = httpx.Timeout(deadline_s, connect=min(deadline_s, self._config.connect_timeout_s))
        try:
            with self._client.stream(method, path, content=body, headers=headers, timeout=timeout) as answer:
                content = _read(answer, deadline_s)
                if not answer.is_success:
                    raise_for(str(answer.status_code), content[:1000].decode(errors="replace"))
                return answer.headers, content
        except httpx.HTTPError as error:
            raise away() from error


def _read(answer: httpx.Response, deadline_s: float) -> bytes:
    until, parts, size = time.monotonic() + deadline_s, [], 0
    for part in answer.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise EngineFailed("the Triton server's answer is too large")
        if time.monotonic() > until:
            raise away()
    return b"".join(parts)


def _path(model: str, version: str) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
