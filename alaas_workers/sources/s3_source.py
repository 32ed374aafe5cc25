"""s3://bucket/key: Amazon S3, MinIO and the like, of what the operator allows, by the operator's credentials.

obstore reads (a tenth of boto3's CPU time), boto3 lists, signs in, and reads the few keys that obstore cannot name.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import closing
from functools import lru_cache, partial
from typing import Any

from obstore.store import S3Store

from alaas.config import Config
from alaas.errors import SampleCode
from alaas_workers.sources.allow_list import AllowList
from alaas_workers.sources.base import Fetched, Listed
from alaas_workers.sources.deadlines import deadline
from alaas_workers.sources.failures import failure
from alaas_workers.sources.object_store import NO_RETRIES, STORES, client_options, read_object
from alaas_workers.sources.s3_login import Login, S3Session, for_obstore
from alaas_workers.sources.uris import bucket_and_key, is_uri

logger = logging.getLogger(__name__)
PAGE = 1000
"""Keys of one answer, the most that S3 gives."""


class S3Source:
    def __init__(self, config: Config) -> None:
        self._config = config.sources.s3
        self._max_bytes = config.sources.max_sample_bytes
        self._allowed = AllowList(self._config.allow)
        self._session = S3Session(self._config)
        self._store = lru_cache(STORES)(self._open)

    def version(self, uri: str, owner: str) -> str:
        return ""  # an ETag costs a request; a listing tells it with each key

    async def fetch(self, uri: str, owner: str) -> Fetched:
        bucket, key = bucket_and_key(uri)
        self._allowed.check(bucket, key)
        if not key:
            raise failure(SampleCode.NOT_FOUND)
        login = await self._session.login()  # with a time of its own
        async with deadline(self._config):
            if "" in key.split("/"):  # obstore would leave the empty part out, and ask for another key
                return await self._session.call(lambda client: _read(client, bucket, key, self._max_bytes))
            return await read_object(self._store(bucket, login), key, self._max_bytes)

    async def pages(self, prefix: str, owner: str) -> AsyncGenerator[list[Listed]]:
        bucket, beneath = bucket_and_key(prefix)
        self._allowed.check(bucket, beneath)
        asked = {"Bucket": bucket, "Prefix": beneath}
        await self._session.login()
        found, is_more = False, True
        while is_more:
            async with deadline(self._config):
                answer = await self._session.call(lambda client: client.list_objects_v2(MaxKeys=PAGE, **asked))
            page = _listed(bucket, answer)
            found = found or bool(page)
            yield page
            following = answer.get("NextContinuationToken", "")
            is_more = following not in ("", asked.get("ContinuationToken"))  # the same again would never end
            asked["ContinuationToken"] = following
        if not found:
            raise failure(SampleCode.NOT_FOUND)

    async def close(self) -> None:
        self._session.close()

    def _open(self, bucket: str, login: Login) -> S3Store:
        """One for a bucket, which keeps its connections, until the credentials are others.

        Every setting is said here that obstore would else take from the environment.
        """
        return S3Store(
            bucket,
            region=login.region,
            aws_endpoint_url_s3=login.endpoint,
            skip_signature=login.credentials is None,
            virtual_hosted_style_request=False,
            credential_provider=partial(for_obstore, login.credentials) if login.credentials else None,
            client_options=client_options(self._config, login.endpoint),
            retry_config=NO_RETRIES,
        )


def _listed(bucket: str, answer: dict[str, Any]) -> list[Listed]:
    """The objects of one page. What ends in "/" only stands for a folder, as consoles make it."""
    keys = {found["Key"]: found.get("ETag", "") for found in answer.get("Contents", []) if "Key" in found}
    files = [Listed(f"s3://{bucket}/{key}", version) for key, version in keys.items() if not key.endswith("/")]
    named = [file for file in files if is_uri(file.uri, bucket_and_key)]
    if len(named) < len(files):
        logger.warning("s3: a listing left out %d keys that no URI can name", len(files) - len(named))
    return named


def _read(client: Any, bucket: str, key: str, max_bytes: int) -> Fetched:
    answer = client.get_object(Bucket=bucket, Key=key)
    with closing(answer["Body"]) as body:
        if answer["ContentLength"] > max_bytes:
            raise failure(SampleCode.TOO_LARGE)
        data = body.read()  # bounded by that length, to which boto3 holds only who reads to the end
    if not data:
        raise failure(SampleCode.EMPTY)
    return Fetched(data, answer.get("ETag", ""))
