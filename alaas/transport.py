"""One ALaaS server, spoken to over HTTP: timeouts always on, bounded retries, typed errors. Under alaas.client.

A POST carries one Idempotency-Key through all its tries, so that an answer lost on the way is not work done twice.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from alaas.errors import AlaasError, ConfigError, InvalidRequest, Timeout, TooManyRequests, Transient, Unavailable
from alaas.problems import PROBLEM_TYPE, as_error

logger = logging.getLogger(__name__)
ATTEMPTS = 5
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
CONNECT_TIMEOUT_S = 5.0

T = TypeVar("T")
Body = Callable[[], Iterator[bytes]]
"""Makes the body anew for each try."""


def pause_s(attempt: int, retry_after_s: float | None, jitter: float) -> float:
    """Seconds before the next try; `attempt` counts from 1, `jitter` is from 0 to 1. The server's word is a minimum."""
    own = FIRST_PAUSE_S * 2.0 ** (attempt - 1) * (0.5 + jitter)
    return min(LONGEST_PAUSE_S, max(own, retry_after_s or 0.0))


def base_url(address: str) -> httpx.URL:
    """`localhost:8888`, `http://host:port` or `https://host/prefix` as a URL. Raises ConfigError."""
    text = address.strip() if isinstance(address, str) else ""
    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{address!r:.80} is not a server's address such as 'localhost:8888'", field="al_server_url")
    if url.userinfo:
        raise ConfigError("credentials belong in `token`, not in the server's address", field="al_server_url")
    return url


def is_loopback(host: str) -> bool:
    try:
        # 0.0.0.0, which the published package's README calls, connects to this machine.
        return host == "localhost" or (address := ipaddress.ip_address(host)).is_loopback or address.is_unspecified
    except ValueError:
        return False


def timeouts(timeout_s: float) -> httpx.Timeout:
    return httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))


class Http:
    """Thread-safe. `transport` replaces the network, for tests and unusual routes."""

    def __init__(
        self, address: str, *, token: str | None, timeout_s: float, transport: httpx.BaseTransport | None
    ) -> None:
        from alaas import __version__

        self.url = base_url(address)
        headers = {"user-agent": f"alaas/{__version__}", "accept": "application/json"}
        if token is not None and (token := token.strip()):  # a token read from a file ends with a line's end
            if not token.isascii() or not token.isprintable() or " " in token:
                raise InvalidRequest("a token is one word of ASCII characters", field="token")
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeouts(timeout_s),
            transport=transport,
            trust_env=not is_loopback(self.url.host),  # A proxy for the world must not see calls to this machine.
        )
        self._sleep: Callable[[float], None] = time.sleep  # Tests replace it.

    def get(self, path: str, answer: type[T], **params: Any) -> T:
        present = {name: value for name, value in params.items() if value is not None}
        return self._parse(self.request("GET", path, params=present), answer)

    def look(self, path: str, answer: type[T]) -> T:
        """One try, for a caller that will look again anyway."""
        return self._parse(self._try("GET", path, None, None, {}), answer)

    def post(self, path: str, answer: type[T], body: BaseModel | Mapping[str, Any] | None = None) -> T:
        if isinstance(body, BaseModel):
            text = body.model_dump_json(exclude_none=True).encode()
        else:
            text = TypeAdapter(dict[str, Any]).dump_json(dict(body or {}))
        return self._parse(self.request("POST", path, content=text, content_type="application/json"), answer)

    def send(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: Body,
        size_bytes: int,
        content_type: str,
        timeout_s: float | None = None,
    ) -> T:
        """Send a body that is made anew for each try and never held in memory as a whole.

        `timeout_s`: for each wait of this call, where the answer takes longer than others.
        """
        response = self.request(
            method, path, content=body, content_type=content_type, size_bytes=size_bytes, timeout_s=timeout_s
        )
        return self._parse(response, answer)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | Body | None = None,
        content_type: str | None = None,
        size_bytes: int | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Try up to ATTEMPTS times while the error is transient. Raises the typed error of the last try."""
        headers = {"content-type": content_type} if content_type else {}
        if size_bytes is not None:
            headers["content-length"] = str(size_bytes)
        if method == "POST":
            headers["idempotency-key"] = uuid.uuid4().hex
        for attempt in range(1, ATTEMPTS + 1):
            try:
                body = content() if callable(content) else content
                return self._try(method, path, params, body, headers, timeout_s)
            except (Transient, TooManyRequests) as error:
                if attempt == ATTEMPTS:
                    raise
                pause = pause_s(attempt, getattr(error, "retry_after_s", None), random.random())  # noqa: S311
                logger.info("%s %s: %s; trying again in %.1f s", method, path, error, pause)
                self._sleep(pause)
        raise AssertionError("unreachable")

    def ask(self, path: str) -> httpx.Response:
        """One GET whose answer is wanted whatever its status. Raises Unavailable when nobody answers."""
        return self._exchange("GET", path, None, None, {})

    def _try(
        self, method: str, path: str, params: Any, content: Any, headers: dict[str, str], timeout_s: float | None = None
    ) -> httpx.Response:
        response = self._exchange(method, path, params, content, headers, timeout_s)
        if response.is_success:
            return response
        raise self._error(response)

    def _exchange(
        self, method: str, path: str, params: Any, content: Any, headers: dict[str, str], timeout_s: float | None = None
    ) -> httpx.Response:
        timeout = self._client.timeout if timeout_s is None else timeouts(timeout_s)
        try:
            return self._client.request(method, path, params=params, content=content, headers=headers, timeout=timeout)
        except httpx.ConnectError:
            raise Unavailable(f"nobody answers at {self.url}", retry_after_s=0) from None
        except httpx.TimeoutException:
            raise Timeout(f"{self.url} did not answer in time") from None
        except httpx.LocalProtocolError:
            raise InvalidRequest("the body changed while it was sent") from None
        except httpx.TransportError as error:
            raise Unavailable(f"the connection to {self.url} broke ({type(error).__name__})", retry_after_s=0) from None

    def _error(self, response: httpx.Response) -> AlaasError:
        if not response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
            if response.status_code in (502, 503, 504):
                return Unavailable(f"a proxy before {self.url} answered {response.status_code}", retry_after_s=1)
            return self._stranger(response)
        try:
            problem = response.json()
        except ValueError:
            return self._stranger(response)
        after = response.headers.get("retry-after", "")
        return as_error(
            response.status_code,
            problem if isinstance(problem, dict) else {},
            int(after) if after.isdecimal() else None,
        )

    def _parse(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            # Keys that a newer server adds are passed over; what is missing or of another type is not.
            return TypeAdapter(answer).validate_json(response.content, extra="ignore")
        except ValidationError:
            raise self._stranger(response) from None

    def _stranger(self, response: httpx.Response) -> AlaasError:
        kind = response.headers.get("content-type", "nothing").split(";")[0]
        return AlaasError(f"{self.url} does not speak ALaaS's API (answered {response.status_code} with {kind:.60})")

    def close(self) -> None:
        self._client.close()
