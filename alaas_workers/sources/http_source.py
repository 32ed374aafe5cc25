"""http:// and https://: one GET after the other over kept connections, each redirect judged like a new URI.

Refused, timed out and blocked read the same to the caller, so that nobody maps a network by asking for it.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.addresses import AddressRules
from alaas_workers.sources.base import Fetched
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.http_connections import asked_host, is_blocked, open_session
from alaas_workers.sources.uris import http_host, scheme_of

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {429, 503}  # may name a pause
_CODES = {
    401: SampleCode.FORBIDDEN,
    403: SampleCode.FORBIDDEN,
    404: SampleCode.NOT_FOUND,
    410: SampleCode.NOT_FOUND,
}
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")


class HttpSource:
    def __init__(self, config: Config, resolver: AbstractResolver | None = None) -> None:
        self._config = config.sources.http
        self._max_bytes = config.sources.max_sample_bytes
        self._rules = AddressRules.of(config)
        self._resolver = resolver
        self._opened: aiohttp.ClientSession | None = None

    def version(self, uri: str, owner: str) -> str:
        return ""  # an ETag costs a request, as much as the object itself

    async def fetch(self, uri: str, owner: str) -> Fetched:
        url = parse_url(uri)
        try:
            async with asyncio.timeout(self._config.total_timeout_s):
                return Fetched(await self._follow(url), "")
        except TimeoutError:  # whoever drips for so long will do so again
            raise failure(SampleCode.UNREACHABLE) from None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = open_session(self._config, self._rules, self._resolver)
        return self._opened

    async def _follow(self, url: URL) -> bytes:
        for _ in range(self._config.max_redirects + 1):
            answer = await self._ask(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise failure(SampleCode.REMOTE_ERROR)

    async def _ask(self, url: URL) -> bytes | URL:
        """One request: the body, or where it redirects to."""
        asked_host.set(url.raw_host or "")
        try:
            response = await self._session.get(url, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            raise _no_answer(error) from None
        async with response:
            if response.status in _REDIRECTS:
                return redirect_target(url, response.headers.get("Location", ""))
            _refuse_status(response)
            try:
                return await _read(response, self._max_bytes)
            except (aiohttp.ClientError, OSError) as error:
                raise _broken_off(error) from None


def parse_url(uri: str) -> URL:
    """Raises SampleError(BAD_URI). What is encoded already goes out letter by letter: signatures depend on it."""
    http_host(uri)
    try:
        url = URL(uri, encoded=_ENCODED.fullmatch(uri) is not None)
        if url.raw_host and url.port and not url.raw_user and not url.raw_password:
            return url
    except ValueError:
        pass
    raise failure(SampleCode.BAD_URI)


def redirect_target(url: URL, location: str) -> URL:
    """The next hop. Raises SampleError(REMOTE_ERROR) where it is nothing that http reads."""
    try:
        joined = str(url.join(URL(location, encoded=_ENCODED.fullmatch(location) is not None)))
        if location and scheme_of(joined) in ("http", "https"):
            return parse_url(joined)
    except (ValueError, SampleError):
        pass
    raise failure(SampleCode.REMOTE_ERROR)


def retry_after_s(header: str, now: datetime) -> float | None:
    """The seconds that a Retry-After header (seconds or a date) asks for; None for what is neither."""
    if re.fullmatch(r"[0-9]{1,9}", header):
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _refuse_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in _CODES:
        raise failure(_CODES[status])
    if status in _BUSY:
        asked_s = retry_after_s(response.headers.get("Retry-After", ""), datetime.now(UTC))
        raise transient_failure(SampleCode.REMOTE_ERROR, asked_s)
    if status >= 500 or status == 408:
        raise transient_failure(SampleCode.REMOTE_ERROR)
    # Compressed bytes were not asked for, and could unpack to any size.
    if status != 200 or response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise failure(SampleCode.REMOTE_ERROR)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if (response.content_length or 0) > max_bytes:
        raise failure(SampleCode.TOO_LARGE)
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise failure(SampleCode.TOO_LARGE)
    if size == 0:
        raise failure(SampleCode.EMPTY)
    return b"".join(parts)


def _no_answer(error: Exception) -> SampleError:
    """What is wrong when no status line came."""
    if isinstance(error, aiohttp.ClientResponseError):
        return failure(SampleCode.REMOTE_ERROR)  # it speaks something else
    if isinstance(error, aiohttp.InvalidURL | aiohttp.ClientSSLError) or is_blocked(error):
        return failure(SampleCode.UNREACHABLE)  # a number that is no address, a bad certificate: both stay so
    return transient_failure(SampleCode.UNREACHABLE)


def _broken_off(error: Exception) -> SampleError:
    """What is wrong when the body did not end as it should."""
    timed_out = isinstance(error, TimeoutError)
    return transient_failure(SampleCode.UNREACHABLE if timed_out else SampleCode.REMOTE_ERROR)
