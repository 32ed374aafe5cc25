"""Reads one object through obstore: what s3, gs and az have in common."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from alaas.config.sources import StoreConfig
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.base import Fetched
from alaas_workers.sources.failures import failure, status_failure, transient_failure

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

Store = S3Store | GCSStore | AzureStore
NO_RETRIES: RetryConfig = {"max_retries": 0}
"""Tries are counted by `Sources`, which also tells that work goes on."""

STORES = 32
"""Buckets kept open at once. Where all are allowed, whoever names a million buckets opens no million clients."""

# obstore has one exception for all of this, and tells it apart in the text alone. The status stands before the body.
_STATUS = re.compile(r"status code: (\d{3})")
_KIND = re.compile(r"\n\s+kind: (Connect|Timeout|Interrupted),")
_STALE_CREDENTIALS = re.compile(r"<Code>(ExpiredToken|InvalidToken|TokenRefreshRequired)</Code>")  # S3's, as a 400


async def read_object(store: Store, key: str, max_bytes: int) -> Fetched:
    """The object's bytes and ETag, of one answer. Raises SampleError."""
    try:
        answer = await obstore.get_async(store, key)
        meta = answer.meta
        if meta["size"] > max_bytes:  # obstore accepts no answer without a length, and holds the body to it
            raise failure(SampleCode.TOO_LARGE)
        data = bytes(await answer.bytes_async())
    except (exceptions.BaseError, FileNotFoundError, ValueError) as error:
        raise store_failure(error) from None
    if not data:
        raise failure(SampleCode.EMPTY)
    return Fetched(data, meta["e_tag"] or "")


def store_failure(error: Exception) -> SampleError:
    """What is wrong, without a word of the remote's."""
    if isinstance(error, FileNotFoundError):
        return failure(SampleCode.NOT_FOUND)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return failure(SampleCode.FORBIDDEN)
    text = str(error)
    if status := _STATUS.search(text):
        return failure(SampleCode.FORBIDDEN) if _STALE_CREDENTIALS.search(text) else status_failure(int(status[1]))
    if kind := _KIND.search(text):
        broken_off = kind[1] == "Interrupted"
        return transient_failure(SampleCode.REMOTE_ERROR if broken_off else SampleCode.UNREACHABLE)
    return failure(SampleCode.REMOTE_ERROR)


def client_options(config: StoreConfig, endpoint: str | None) -> ClientConfig:
    """Deadlines of one request. Plain http goes only where the operator's own endpoint names it."""
    return {
        "allow_http": (endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=config.connect_timeout_s),
        "read_timeout": timedelta(seconds=config.read_timeout_s),
        "timeout": timedelta(seconds=config.total_timeout_s + 5),  # `deadline` comes first
        "user_agent": "alaas",
    }
