"""Parquet: columns of texts, read in small batches. What its footer declares is judged before anything is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from alaas.errors import ConfigError, ManifestError
from alaas.manifests.columns import Columns, Found, ManifestRow

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 2048
MAX_COLUMNS = 10_000
MAX_FOOTER_STRING = 16 * 1024 * 1024
MAX_UNPACKED_BYTES = 8 * 1024**3  # of all that is read; a batch of it lies in memory at a time


def parquet_rows(file: IO[bytes], columns: Columns) -> tuple[bool, Iterator[ManifestRow]]:
    """Whether the values are texts, and the rows. Raises ConfigError where pyarrow is not installed."""
    try:
        return _opened(file, columns)
    except (ManifestError, MemoryError, ConfigError):
        raise
    except Exception as error:  # damaged files make Arrow raise whatever it happens to stumble over
        raise _damaged(error) from None


def _opened(file: IO[bytes], columns: Columns) -> tuple[bool, Iterator[ManifestRow]]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError("reading Parquet needs pyarrow: pip install 'alaas[server]'") from None
    limits = {"thrift_string_size_limit": MAX_FOOTER_STRING, "thrift_container_size_limit": MAX_COLUMNS * 10}
    parquet = pq.ParquetFile(file, pre_buffer=False, **limits)
    names = list(parquet.schema_arrow.names)
    if len(names) > MAX_COLUMNS:
        raise ManifestError(f"the manifest has {len(names)} columns; at most {MAX_COLUMNS} are taken")
    found = columns.found_in(names)
    wanted = [names[place] for place in (found.value, found.label) if place is not None]
    for name, field in zip(wanted, (columns.value_field, "listing.label_column"), strict=False):
        _check_type(name, parquet.schema_arrow.field(name).type, field)
    _check_size(parquet.metadata, {names.index(name) for name in wanted})
    # As a dictionary, a text that is repeated a million times stays one text.
    read = pq.ParquetFile(file, pre_buffer=False, read_dictionary=wanted, **limits)
    return found.is_text, _rows(read, wanted, found)


def _check_type(name: str, kind: pa.DataType, field: str) -> None:
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    if not any(test(kind) for test in (*texts, types.is_integer, types.is_null)):  # null: without a single value
        raise ManifestError(f"the column {name!r:.80} must hold texts, not {kind!s:.80}", field=field)


def _check_size(footer: Any, places: set[int]) -> None:
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    size = sum(group.column(place).total_uncompressed_size for group in groups for place in places)
    if size > MAX_UNPACKED_BYTES:
        raise _too_long(size)


def _rows(parquet: Any, wanted: list[str], found: Found) -> Iterator[ManifestRow]:
    number = characters = 0
    try:
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False):
            values = _texts(batch.column(wanted[0]))
            labels = [None] * len(batch) if found.label is None else _texts(batch.column(wanted[-1]))
            for value, label in zip(values, labels, strict=True):
                number += 1
                characters += len(value) if isinstance(value, str) else 0
                if characters > MAX_UNPACKED_BYTES:  # a text that stands there once may be that of a million rows
                    raise _too_long(characters)
                yield ManifestRow(number, value, label)
    except (ManifestError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(error) from None


def _texts(array: Any) -> list[Any]:
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        return list(array.to_pylist())
    places = array.indices.unique().drop_null()  # the dictionary may be that of a million rows
    words = dict(zip(places.to_pylist(), array.dictionary.take(places).to_pylist(), strict=True))
    return [words.get(place) for place in array.indices.to_pylist()]


def _damaged(error: Exception) -> ManifestError:
    detail = f"the manifest is damaged, or not Parquet: {type(error).__name__} while it was read"
    return ManifestError(detail, field="listing.uri")


def _too_long(size: int) -> ManifestError:
    detail = f"the manifest unpacks to {size} bytes or more; at most {MAX_UNPACKED_BYTES} are taken"
    return ManifestError(detail, field="listing.uri")
