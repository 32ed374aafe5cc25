"""How every process connects to Redis: deadlines always, and one error for every way in which it can be away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alaas.errors import ConfigError, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
)


def connect(url: str | None, *, what: str, timeout_s: float = 2.0) -> redis.Redis:
    """A client of the Redis at `url`; it connects at its first command. `what` names it in errors.

    Nothing is retried below us: a retried command that is not idempotent would act twice (design, finding 3).
    """
    if url is None:
        raise ConfigError("no Redis is configured; `alaas serve` starts one, a lone worker needs its URL", field=what)
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=5,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def unavailable_when_away(what: str) -> Iterator[None]:
    """Turn every failure to reach Redis into `Unavailable`, without its host name."""
    try:
        yield
    except AWAY as error:
        raise Unavailable(f"the {what} Redis cannot be used now ({type(error).__name__})", retry_after_s=2) from error
    except redis.ResponseError as error:
        # A full Redis answers so from within scripts; a replica or a loading server likewise.
        if any(word in str(error) for word in ("OOM", "LOADING", "READONLY", "MISCONF", "BUSY")):
            raise Unavailable(f"the {what} Redis refuses work now", retry_after_s=5) from error
        raise


def guarded(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`unavailable_when_away` around a whole method."""

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with unavailable_when_away(what):
                return method(*args, **kwargs)

        return call

    return decorate


def text(value: Any) -> str:
    """A reply of Redis as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def memory_bytes(client: redis.Redis) -> tuple[int, int]:
    """What Redis uses of its memory, and its limit; (0, 0) when it has none, or we lack the right to ask (+info)."""
    try:
        memory = client.info("memory")
    except redis.exceptions.NoPermissionError:
        return 0, 0
    return int(memory["used_memory"]), int(memory.get("maxmemory", 0))
