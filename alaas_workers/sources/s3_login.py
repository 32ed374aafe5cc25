"""The operator's way into S3, as boto3 finds it: endpoint, region, and credentials that are renewed as they expire."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ProfileNotFound,
    ResponseStreamingError,
)

from alaas.config.sources import S3SourceConfig
from alaas.errors import ConfigError, SampleCode, SampleError
from alaas_workers.sources.failures import failure, status_failure, transient_failure

if TYPE_CHECKING:
    from obstore.store import S3Credential

T = TypeVar("T")
logger = logging.getLogger(__name__)

KEEP_S = 60.0
"""Credentials that expire are renewed by botocore 10 to 15 minutes before; asking it costs nothing until then."""
LOOKUP_S = 10.0
"""For one lookup, in which a metadata service, STS or a program of the profile may hang."""
REST_S = 10.0
"""After a lookup that failed, so that it does not cost each sample of a chunk its time."""
THREADS = 4
"""That list, look up credentials and read the keys that obstore cannot name."""
STALE_CREDENTIALS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
METADATA_SERVICES = ("container-role", "iam-role")


class Login(NamedTuple):
    endpoint: str
    region: str
    credentials: ReadOnlyCredentials | None  # None: anonymous


class S3Session:
    """One boto3 session and client for all buckets. Its coroutines run on one event loop."""

    def __init__(self, config: S3SourceConfig) -> None:
        self._config = config
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="alaas-s3")
        self._session = open_session(config)
        self._opened: Any = None
        self._known: Login | SampleError = failure(SampleCode.FORBIDDEN)  # nobody is in before the first lookup
        self._good_until = 0.0
        self._lookup: asyncio.Future[None] | None = None
        self._asked: asyncio.Future[Login | SampleError] | None = None  # a thread's, which nothing can stop

    async def call(self, function: Callable[[Any], T]) -> T:
        """On a thread, with boto3's client, after a login. Raises SampleError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, self._opened)
        except (BotoCoreError, ClientError) as error:
            raise boto_failure(error) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def login(self) -> Login:
        """As it is now. Raises SampleError: FORBIDDEN where there are no credentials, UNREACHABLE where none came."""
        if time.monotonic() >= self._good_until:
            await self._look_up()
        if isinstance(self._known, SampleError):
            raise type(self._known)(self._known.sample_code, self._known.detail)
        return self._known

    async def _look_up(self) -> None:
        """Wait for the one lookup that runs; a sample whose time is up leaves it to the others."""
        if self._lookup is None:
            self._lookup = asyncio.ensure_future(self._renew())
        await asyncio.shield(self._lookup)

    async def _renew(self) -> None:
        try:
            if self._asked is None or self._asked.done():
                self._asked = asyncio.get_running_loop().run_in_executor(self._threads, self._found)
            await asyncio.wait({self._asked}, timeout=LOOKUP_S)
            late = transient_failure(SampleCode.UNREACHABLE)
            self._known = self._asked.result() if self._asked.done() else late
            self._good_until = time.monotonic() + (KEEP_S if isinstance(self._known, Login) else REST_S)
        finally:
            self._lookup = None

    def _found(self) -> Login | SampleError:
        """Blocks: reads files, and asks STS or a metadata service where the operator wants roles."""
        try:
            found = None if self._config.anonymous else self._session.get_credentials()
            if found is None and not self._config.anonymous:
                logger.error("s3: there are no credentials, and sources.s3.anonymous is not set")
                return failure(SampleCode.FORBIDDEN)
            frozen = found and found.get_frozen_credentials()
            self._opened = self._opened or self._open_client()  # which would look for credentials again
            return Login(self._opened.meta.endpoint_url, self._opened.meta.region_name or "us-east-1", frozen)
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            logger.error("s3: the lookup of credentials failed: %s", type(error).__name__)
            return transient_failure(SampleCode.UNREACHABLE)

    def _open_client(self) -> Any:
        settings = ClientConfig(
            connect_timeout=self._config.connect_timeout_s,
            read_timeout=self._config.read_timeout_s,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path"},  # as obstore does; a bucket's name may hold dots
            signature_version=UNSIGNED if self._config.anonymous else None,
            defaults_mode="legacy",  # "auto" in a profile would ask the metadata service for the region
            max_pool_connections=THREADS,
        )
        return self._session.client("s3", endpoint_url=self._config.endpoint, config=settings)


def for_obstore(credentials: ReadOnlyCredentials) -> S3Credential:
    key, secret, token = credentials[:3]
    return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}


def open_session(config: S3SourceConfig) -> boto3.Session:
    """Raises ConfigError for a profile that is not there."""
    try:
        core = botocore.session.Session(profile=config.profile)
        if not config.roles:
            finders = core.get_component("credential_provider")
            for name in METADATA_SERVICES:
                finders.remove(name)
        return boto3.Session(botocore_session=core, region_name=config.region)
    except ProfileNotFound:
        raise ConfigError("sources.s3.profile, or AWS_PROFILE, is not in the AWS configuration files") from None
    except BotoCoreError as error:
        raise ConfigError(f"the AWS configuration files cannot be used ({type(error).__name__})") from None


def boto_failure(error: BotoCoreError | ClientError) -> SampleError:
    """What is wrong, without a word of the remote's."""
    if isinstance(error, IncompleteReadError | ResponseStreamingError):
        return transient_failure(SampleCode.REMOTE_ERROR)
    if isinstance(error, ConnectionError | HTTPClientError):
        return transient_failure(SampleCode.UNREACHABLE)
    if not isinstance(error, ClientError):
        return failure(SampleCode.REMOTE_ERROR)
    if error.response.get("Error", {}).get("Code") in STALE_CREDENTIALS:
        return failure(SampleCode.FORBIDDEN)
    return status_failure(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
