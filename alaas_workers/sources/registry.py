"""Scheme to source. A source's module is imported at its first use: nobody needs boto3 to read local files.

A new source is one more line in SOURCES (docs/how-to-add-a-source.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from alaas.config import Config
from alaas.errors import ConfigError, SampleCode, SampleError
from alaas_workers.sources import uris
from alaas_workers.sources.base import Source
from alaas_workers.sources.failures import failure


@dataclass(frozen=True)
class Entry:
    """How a scheme is served. Two schemes with one `target` share one source object."""

    target: str  # "package.module:Class"
    hint: str  # what to tell the operator when the import fails
    check: Callable[[str], Any]  # raises SampleError(BAD_URI) for a text that the source cannot read
    has_versions: bool = False  # else `version` is "" and the module is not even imported for it
    is_enabled: Callable[[Config], bool] = lambda config: True


_HTTP = Entry(
    "alaas_workers.sources.http_source:HttpSource",
    "reading http needs aiohttp: pip install 'alaas[server]'",
    uris.http_host,
    is_enabled=lambda config: config.sources.http.enabled,
)
_FTP = Entry(
    "alaas_workers.sources.ftp_source:FtpSource",
    "part of alaas",
    uris.ftp_place,
    is_enabled=lambda config: config.sources.ftp.enabled,
)
SOURCES: dict[str, Entry] = {
    "file": Entry("alaas_workers.sources.file_source:FileSource", "part of alaas", uris.local_path, has_versions=True),
    "upload": Entry("alaas_workers.sources.upload_source:UploadSource", "part of alaas", uris.upload_digest),
    "data": Entry("alaas_workers.sources.data_source:DataSource", "part of alaas", uris.data_content),
    "s3": Entry(
        "alaas_workers.sources.s3_source:S3Source",
        "reading s3 needs boto3 and obstore: pip install 'alaas[server]'",
        uris.bucket_and_key,
        is_enabled=lambda config: config.sources.s3.enabled,
    ),
    "gs": Entry(
        "alaas_workers.sources.gs_source:GsSource",
        "reading gs needs obstore: pip install 'alaas[server]'",
        uris.bucket_and_plain_key,
        is_enabled=lambda config: config.sources.gs.enabled,
    ),
    "az": Entry(
        "alaas_workers.sources.az_source:AzSource",
        "reading az needs obstore: pip install 'alaas[server]'",
        uris.bucket_and_plain_key,
        is_enabled=lambda config: config.sources.az.enabled,
    ),
    "hf": Entry(
        "alaas_workers.sources.hf_source:HfSource",
        "reading hf needs huggingface_hub: pip install 'alaas[text]'",
        uris.dataset_file,
        is_enabled=lambda config: config.sources.hf.enabled,
    ),
    "http": _HTTP,
    "https": _HTTP,
    "ftp": _FTP,
    "ftps": _FTP,
}


def entry_for(uri: str, config: Config) -> Entry:
    """Who serves `uri`. Raises SampleError: BAD_URI, or UNKNOWN_SCHEME also for a source that is switched off."""
    entry = SOURCES.get(uris.scheme_of(uri))
    if entry is None or not entry.is_enabled(config):
        raise failure(SampleCode.UNKNOWN_SCHEME)
    return entry


def check_uri(uri: str, config: Config) -> SampleCode | None:
    """Judge the text alone: None, or why no source could ever read it. Opens and resolves nothing."""
    try:
        entry_for(uri, config).check(uri)
    except SampleError as error:
        return error.sample_code
    return None


def open_source(entry: Entry, config: Config) -> Source:
    """Import and make the source. Raises ConfigError with the entry's hint when its import fails."""
    module, _, name = entry.target.partition(":")
    try:
        source_class = getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"{entry.hint} ({type(error).__name__} of {error.name})") from error
    return cast(Source, source_class(config))
