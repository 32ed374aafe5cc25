"""What a listing lists, row by row: samples, or why a row is none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from alaas.config import Config
from alaas.errors import ManifestError, SampleCode, SampleError
from alaas.jobs import Listing
from alaas.manifests import MAX_LABEL, Columns, ManifestRow, label_of, place_of, read_manifest
from alaas.suffixes import is_sample
from alaas.texts import text_uri
from alaas_workers.catalog.importing import ListedSample
from alaas_workers.catalog.texts import MAX_URI
from alaas_workers.sources import Sources, check_uri
from alaas_workers.sources.upload_source import keep_upload

BAD_LABEL, BAD_TEXT, BAD_VALUE, OTHER_FILE = "bad_label", "bad_text", "bad_value", "other_file"
DETAILS = {
    BAD_LABEL: f"its label is no text of 1 to {MAX_LABEL} characters",
    BAD_TEXT: "it is not valid Unicode",
    BAD_VALUE: "it is no text",
    OTHER_FILE: "its name is not that of a sample of the dataset's modality",
    SampleCode.EMPTY: "there is nothing in the column",
    SampleCode.BAD_URI: "it is no URI that can be read here, leaves the manifest's host, or holds credentials",
    SampleCode.UNKNOWN_SCHEME: "no source of this server serves its scheme",
    SampleCode.TOO_LARGE: "it has more bytes than the configured limit",
}


class Row(NamedTuple):
    """`sample`: None for a row that is none, with the code that says why and how it begins."""

    number: int
    sample: ListedSample | None
    code: str = ""
    value: str = ""


class _NoSample(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Listings:
    """Reads the listings of one process. Thread-safe; made after the last fork."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sources = Sources(config)
        sources = config.sources.model_copy(update={"max_sample_bytes": config.sources.max_manifest_bytes})
        self._manifests = Sources(config.model_copy(update={"sources": sources}))

    def rows(self, listing: Listing, owner: str, modality: str, progress: Callable[[], None]) -> Iterator[Row]:
        """In an order that does not change. Raises SampleError, ManifestError, and what `progress` raises."""
        if listing.is_prefix:
            return self._beneath(listing.uri, owner, modality, progress)
        return self._of_manifest(listing, owner, modality, progress)

    def _beneath(self, prefix: str, owner: str, modality: str, progress: Callable[[], None]) -> Iterator[Row]:
        numbers = count(1)
        for page in self._sources.pages(prefix, owner):
            progress()
            for found in page:
                number = next(numbers)
                if not is_sample(found.uri.rpartition("/")[2], modality):
                    yield Row(number, None, OTHER_FILE, found.uri)
                elif len(found.uri) > MAX_URI or (fault := check_uri(found.uri, self._config)):
                    yield Row(number, None, fault or SampleCode.BAD_URI, found.uri[:MAX_URI])
                else:
                    yield Row(number, ListedSample(found.uri, found.version))

    def _of_manifest(self, listing: Listing, owner: str, modality: str, progress: Callable[[], None]) -> Iterator[Row]:
        columns = Columns.of(listing, modality)
        (fetched,) = self._manifests.fetch_all([listing.uri], owner, progress)
        if isinstance(fetched, SampleError):
            raise fetched
        is_text, rows = read_manifest(io.BytesIO(fetched.data), columns, listing.uri, listing.format)
        for row in rows:
            try:
                uri = self._text(row.value, owner) if is_text else self._place(listing.uri, row.value)
                yield Row(row.number, ListedSample(uri, "", _label(row)))
            except _NoSample as reason:
                yield Row(row.number, None, reason.code, str(row.value)[:MAX_URI])

    def _place(self, manifest: str, value: object) -> str:
        if not isinstance(value, str | None):
            raise _NoSample(BAD_VALUE)
        if not value:
            raise _NoSample(SampleCode.EMPTY)
        uri = place_of(manifest, value) if len(value) <= MAX_URI else None
        fault = SampleCode.BAD_URI if uri is None else check_uri(uri, self._config)
        if uri is None or fault is not None:
            raise _NoSample(fault or SampleCode.BAD_URI)
        return uri

    def _text(self, value: object, owner: str) -> str:
        if not isinstance(value, str | None):
            raise _NoSample(BAD_VALUE)
        if not value:
            raise _NoSample(SampleCode.EMPTY)
        try:
            uri = text_uri(value)
        except UnicodeEncodeError:
            raise _NoSample(BAD_TEXT) from None
        if uri is not None:
            return uri
        data = value.encode()
        if len(data) > min(self._config.api.max_upload_bytes, self._config.sources.max_sample_bytes):
            raise _NoSample(SampleCode.TOO_LARGE)
        try:
            return keep_upload(self._config, owner, data)
        except OSError as error:
            detail = f"the worker cannot keep its longer texts ({error.strerror})"
            raise ManifestError(detail, field="listing.text_column") from None


def _label(row: ManifestRow) -> str | None:
    try:
        return label_of(row.label)
    except ValueError:
        raise _NoSample(BAD_LABEL) from None
