"""The settings of the sources that bytes are read from, and the caps on what they give."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator

from alaas.config.fields import MIB, Port
from alaas.jobs import Strict


class FileSourceConfig(Strict):
    roots: list[Path] | None = Field(
        default=None, description="folders that file URIs may read; null: the start folder when bound to loopback"
    )


class RemoteSourceConfig(Strict):
    connect_timeout_s: float = Field(default=5.0, gt=0, description="to open a connection")
    read_timeout_s: float = Field(default=15.0, gt=0, description="without a byte")
    total_timeout_s: float = Field(default=60.0, gt=0, description="for one sample")


class HttpSourceConfig(RemoteSourceConfig):
    enabled: bool = Field(default=True, description="serve http and https URIs")
    ports: list[Port] | None = Field(default=None, description="null: any on loopback without tokens, else 80 and 443")
    allow_hosts: list[str] = Field(
        default_factory=list, description="CIDR ranges or host names allowed beside global addresses"
    )
    max_redirects: int = Field(default=3, ge=0, le=10, description="each one's address is judged anew")


def _allow_entry(entry: str) -> str:
    if not re.fullmatch(r"\*|[A-Za-z0-9][A-Za-z0-9._-]*(/.*)?", entry):
        raise ValueError("a bucket, a bucket and prefix as bucket/prefix, or '*'; without a scheme")
    return entry


AllowEntry = Annotated[str, AfterValidator(_allow_entry)]

_ENDPOINT = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?(?:/[^@?#\s]*)?")


def _endpoint(text: str) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or int(match[1] or 0) > 65535:
        raise ValueError("not http://host or https://host, with port and path where needed; no credentials, no query")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class StoreConfig(RemoteSourceConfig):
    """A store that is read with the server's own rights: for nobody, until `allow` says what."""

    enabled: bool = Field(default=True, description="serve URIs of this scheme")
    allow: list[AllowEntry] = Field(
        default_factory=list, description="what may be read: 'bucket', 'bucket/prefix', '*' for all; empty: nothing"
    )
    endpoint: Endpoint | None = Field(default=None, description="its address; null: the provider's own")
    anonymous: bool = Field(default=False, description="use no credentials: what everybody may read")


class CloudStoreConfig(StoreConfig):
    roles: bool = Field(
        default=False, description="take the machine's or container's role from the cloud's metadata service"
    )


class S3SourceConfig(CloudStoreConfig):
    """Credentials are those that boto3 finds: environment, profile, files, roles."""

    profile: str | None = Field(default=None, description="of the AWS configuration files; null: AWS_PROFILE's")
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+$", description="of all buckets; null: the profile's, else us-east-1"
    )


class GsSourceConfig(CloudStoreConfig):
    credentials: Path | None = Field(
        default=None, description="a service account's JSON file; null: GOOGLE_APPLICATION_CREDENTIALS, else gcloud's"
    )


class AzSourceConfig(CloudStoreConfig):
    """Credentials come from the environment: AZURE_STORAGE_ACCOUNT_KEY and the like (docs/s3.md)."""

    account: str | None = Field(
        default=None, pattern=r"^[a-z0-9]{3,24}$", description="the storage account of all containers; needed"
    )


class HfSourceConfig(StoreConfig):
    """Datasets of a HuggingFace hub, at a pinned commit, kept in its cache. `allow` lists owner/name."""

    cache_dir: Path | None = Field(default=None, description="null: huggingface_hub's own (HF_HOME)")


_FTP_SERVER = re.compile(r"ftps?://(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@%\\:\[\]]{1,255})(?::([1-9][0-9]{0,4}))?")


class FtpLogin(Strict):
    """A server that needs a name and a password. It is trusted as an address, also in a private network."""

    server: str = Field(
        description="ftps://host or ftp://host, with its port unless 21; used for exactly that scheme, host and port"
    )
    user: str = Field(min_length=1, description="its name there")
    password: SecretStr = Field(description="a URI never holds one")
    prefixes: list[str] = Field(
        default=["/"], description="folders that URIs may read with it; /: all that the login opens"
    )

    @field_validator("server")
    @classmethod
    def _names_a_server(cls, server: str) -> str:
        match = _FTP_SERVER.fullmatch(server)
        if match is None or int(match[1] or 21) > 65535:
            raise ValueError("not ftps://host or ftp://host, with a port where it is not 21")
        return server

    @field_validator("user", "password")
    @classmethod
    def _is_one_line(cls, word: str | SecretStr) -> str | SecretStr:
        if not (word if isinstance(word, str) else word.get_secret_value()).isprintable():
            raise ValueError("holds a control character")  # which would end the command that says it
        return word

    @field_validator("prefixes")
    @classmethod
    def _begin_at_the_top(cls, prefixes: list[str]) -> list[str]:
        if not all(prefix.startswith("/") for prefix in prefixes):
            raise ValueError("each begins with a slash")
        return prefixes


class FtpSourceConfig(RemoteSourceConfig):
    """`total_timeout_s` also bounds the listing of one folder. Files are read in passive mode."""

    enabled: bool = Field(default=True, description="serve ftp and ftps URIs")
    ports: list[Port] | None = Field(default=None, description="null: any on loopback without tokens, else 21 and 990")
    allow_hosts: list[str] = Field(
        default_factory=list, description="CIDR ranges or host names allowed beside global addresses"
    )
    connections: int = Field(default=8, ge=1, le=64, description="to one server, from each download process")
    logins: list[FtpLogin] = Field(default_factory=list, description="other servers are asked as 'anonymous'")


class SourcesConfig(Strict):
    max_sample_bytes: int = Field(default=64 * MIB, ge=1, description="of one sample, as fetched")
    max_manifest_bytes: int = Field(default=256 * MIB, ge=1, description="of one manifest; an import holds it whole")
    import_timeout_s: float = Field(default=7200.0, gt=0, description="for one import; what was added until then stays")
    max_pixels: int = Field(default=64_000_000, ge=1, description="of a decoded image")
    max_text_bytes: int = Field(default=MIB, ge=1, description="of a text, whose tokens take many times as much memory")
    max_seconds: float = Field(default=600.0, gt=0, le=86_400, description="of a sound, as its header tells")
    concurrency: int = Field(default=16, ge=1, le=512, description="samples of one chunk that are read at once")
    attempts: int = Field(default=3, ge=1, le=10, description="of one sample while its error is transient")
    retry_delay_s: float = Field(default=0.5, ge=0, description="before the second try; doubles")
    file: FileSourceConfig = Field(default=FileSourceConfig(), description="file URIs and plain paths")
    http: HttpSourceConfig = Field(default=HttpSourceConfig(), description="http and https URIs")
    ftp: FtpSourceConfig = Field(default=FtpSourceConfig(), description="ftp and ftps URIs")
    s3: S3SourceConfig = Field(default=S3SourceConfig(), description="s3 URIs: Amazon S3, MinIO and the like")
    gs: GsSourceConfig = Field(default=GsSourceConfig(), description="gs URIs: Google Cloud Storage")
    az: AzSourceConfig = Field(default=AzSourceConfig(), description="az URIs: Azure Blob Storage")
    hf: HfSourceConfig = Field(default=HfSourceConfig(), description="hf://datasets/ URIs: HuggingFace datasets")
