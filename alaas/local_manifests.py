"""Manifests of this machine: read here, so that the files that they name may lie here as well."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

from alaas.checks import MAX_URI
from alaas.errors import InvalidRequest
from alaas.jobs import Listing
from alaas.manifests import Columns, is_uri, label_of, read_manifest

logger = logging.getLogger(__name__)
IN_MEMORY_BYTES = 8 * 1024 * 1024
LABELS_AT_ONCE = 5000


class LocalManifest:
    """`is_text`: its values are texts, else URIs and paths. Use it as a context; read it once."""

    def __init__(self, path: str, listing: Listing, modality: str) -> None:
        """Raises InvalidRequest, ManifestError among them."""
        self.path = path
        self.skipped: Counter[str] = Counter()
        try:
            self._file: BinaryIO = open(path, "rb")
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {error.strerror}", field="data_list") from None
        try:
            columns = Columns.of(listing, modality)
            self.is_text, self._rows = read_manifest(self._file, columns, path, listing.format)
        except BaseException:
            self._file.close()
            raise

    def samples(self) -> Iterator[tuple[str, str | None]]:
        """Texts, or URIs and paths, each with its label. Rows without one are left out, and counted in `skipped`."""
        for row in self._rows:
            fault = _fault(row.value, self.is_text)
            try:
                label = label_of(row.label)
            except ValueError:
                fault = fault or "bad_label"
            if fault is not None:
                self.skipped[fault] += 1
            else:
                yield row.value if self.is_text else self._placed(row.value), label

    def _placed(self, value: str) -> str:
        """A relative path is taken from the manifest's own folder."""
        return value if is_uri(value) else os.path.join(os.path.dirname(self.path), value)

    def warn(self) -> None:
        if self.skipped:
            words = ", ".join(f"{count} {fault}" for fault, count in self.skipped.most_common())
            logger.warning("%s: rows left out: %s", self.path, words)

    def __enter__(self) -> LocalManifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _fault(value: Any, is_text: bool) -> str | None:
    if value is None or value == "":
        return "empty"
    if not isinstance(value, str):
        return "bad_value"
    if not _is_unicode(value):
        return "bad_text" if is_text else "bad_uri"
    if not is_text and (len(value) > MAX_URI or "\0" in value):
        return "bad_uri"
    return None


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


class LabelLines:
    """Labels that go to the server when the samples are there; on disk when they are many."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)

    def add(self, uri: str, label: str) -> None:
        self._file.write(json.dumps([uri, label]).encode() + b"\n")

    def batches(self) -> Iterator[dict[str, str]]:
        self._file.seek(0)
        while batch := dict(json.loads(line) for line in islice(self._file, LABELS_AT_ONCE)):
            yield batch

    def __enter__(self) -> LabelLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
