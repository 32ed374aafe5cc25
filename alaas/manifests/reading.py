"""`read_manifest`: which format a manifest is in, and its rows one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import urlsplit

from alaas.errors import ManifestError
from alaas.manifests.columns import Columns, ManifestRow
from alaas.manifests.csv_rows import csv_rows
from alaas.manifests.json_rows import json_rows
from alaas.manifests.parquet_rows import parquet_rows

Reader = Callable[[IO[bytes], Columns], tuple[bool, Iterator[ManifestRow]]]
FORMATS: dict[str, Reader] = {"csv": csv_rows, "jsonl": json_rows, "parquet": parquet_rows}
SUFFIXES = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}


def format_of(uri: str) -> str | None:
    """What the suffix of a path or URI says; None for one that no manifest has."""
    path = urlsplit(uri).path if "://" in uri else uri
    return SUFFIXES.get(path.rpartition("/")[2].rpartition(".")[2].lower())


def read_manifest(
    file: IO[bytes], columns: Columns, name: str, format_: str | None = None
) -> tuple[bool, Iterator[ManifestRow]]:
    """Whether its values are texts (else URIs), and its rows, read as they are asked for; `name`: its path or URI.

    Raises ManifestError at once or while rows come: the format, a missing column, a line that is no text.
    """
    head = file.read(4)
    file.seek(0)
    told = format_ or ("parquet" if head == b"PAR1" else format_of(name))
    if told is None:
        raise ManifestError("what format it has is not told by its name; give csv, jsonl or parquet",
                            field="listing.format")  # fmt: skip
    return FORMATS[told](file, columns)
