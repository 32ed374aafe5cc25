"""Parquet: a column for each feature, as lists of floats or one column for each value. Needs pyarrow, loaded late.

Row counts and sizes are judged by the file's footer first. A footer can lie, so what is read is counted as well.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from strategies.errors import StrategyError
from strategies.pool_files.contents import (
    IDS,
    TEXTS,
    PoolContents,
    PoolLimits,
    PoolTooLarge,
    as_feature,
    check_floats,
    check_present,
    checked_texts,
    is_labelled,
    known_name,
    named_rows,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 4096
MAX_COLUMNS = 100_000
MAX_FOOTER_STRING = 16 * 1024 * 1024
_NUMBERED = re.compile(r"(.+)_(0|[1-9][0-9]{0,5})")


def read_parquet(file: IO[bytes], limits: PoolLimits, also: Collection[str]) -> PoolContents:
    import pyarrow.parquet as pq

    with pq.ParquetFile(
        file,
        pre_buffer=False,
        thrift_string_size_limit=MAX_FOOTER_STRING,
        thrift_container_size_limit=MAX_COLUMNS * 10,
    ) as parquet:
        _check_footer(parquet.metadata, limits)
        columns = _columns(parquet.schema_arrow, also)
        check_present(columns)
        return _read(parquet, columns, limits)


def _check_footer(footer: Any, limits: PoolLimits) -> None:
    if footer.num_columns > MAX_COLUMNS:
        raise PoolTooLarge(f"the file has {footer.num_columns} columns; at most {MAX_COLUMNS} are taken", field="file")
    limits.check_rows(footer.num_rows)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    limits.check_bytes(sum(group.total_byte_size for group in groups))


def _columns(schema: pa.Schema, also: Collection[str]) -> dict[str, list[str]]:
    """Name as we call it to the columns that hold it: one, or one for each value, in order."""
    found: dict[str, list[str]] = {}
    numbered: dict[str, dict[int, str]] = {}
    counts = Counter(schema.names)
    for column in schema.names:
        name, number = _split(column, also)
        if counts[column] > 1:
            raise StrategyError(f"the column {column!r:.80} is there twice", field=name)
        if is_labelled(name):
            raise StrategyError(f"{name} has rows of its own, which take an NPZ file", field=name)
        if number is not None:
            numbered.setdefault(name, {})[number] = column
        elif name in found:
            raise StrategyError(f"{name} is there twice", field=name)
        else:
            found[name] = [column]
    for name, parts in numbered.items():
        found[name] = _in_order(name, parts, name in found)
    for name, columns in found.items():
        _check_types(name, columns, schema)
    return found


def _split(column: str, also: Collection[str]) -> tuple[str, int | None]:
    """`probabilities_3` as ("probabilities", 3)."""
    matched = _NUMBERED.fullmatch(column)
    if matched is None or column in also:
        return known_name(column, also), None
    name = known_name(matched[1], also)
    if name in TEXTS:
        raise StrategyError(f"{name} takes one column, not {column!r:.80}", field=name)
    return name, int(matched[2])


def _in_order(name: str, parts: dict[int, str], is_list_too: bool) -> list[str]:
    missing = sorted(set(range(len(parts))) - parts.keys())
    if missing or is_list_too:
        what = f"{name}_{missing[0]} is missing" if missing else f"{name} is there as a list and value by value"
        raise StrategyError(f"{what}: columns are numbered from 0 without gaps", field=name)
    return [parts[number] for number in range(len(parts))]


def _check_types(name: str, columns: list[str], schema: pa.Schema) -> None:
    import pyarrow as pa

    for column in columns:
        found = kind = schema.field(column).type
        if name in TEXTS:
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)):
                raise StrategyError(f"{name} must hold texts or whole numbers, not {found!s:.80}", field=name)
            continue
        while len(columns) == 1 and _is_list(kind):
            kind = kind.value_type
        letter = "f" if pa.types.is_floating(kind) else "O"
        check_floats(name, letter, 8, f"{found} in the column {column!r}")


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


@dataclass
class _Filled:
    """Arrays that are filled batch by batch. Their shapes are known from the first rows."""

    size: int
    limits: PoolLimits
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def put(self, name: str, start: int, rows: NDArray[Any]) -> None:
        if name not in self.arrays:
            shape = (self.size, *rows.shape[1:])
            self.limits.check_bytes(
                sum(a.nbytes for a in self.arrays.values()) + math.prod(shape) * rows.dtype.itemsize
            )
            self.arrays[name] = np.empty(shape, dtype=rows.dtype)
        target = self.arrays[name]
        if rows.shape[1:] != target.shape[1:]:
            _refuse_ragged(name, range(start, start + len(rows)), target.shape[1:])
        target[start : start + len(rows)] = rows


def _read(parquet: Any, columns: dict[str, list[str]], limits: PoolLimits) -> PoolContents:
    size = parquet.metadata.num_rows
    texts: dict[str, list[Any]] = {name: [] for name in TEXTS & columns.keys()}
    filled, start = _Filled(size, limits), 0
    for batch in _batches(parquet):
        if start + len(batch) > size:
            raise EOFError("more rows than the footer says")
        for name, parts in columns.items():
            if name in TEXTS:
                texts[name] += batch.column(parts[0]).to_pylist()
            else:
                filled.put(name, start, _rows(batch, name, parts, start))
        start += len(batch)
    if start != size:
        raise EOFError("fewer rows than the footer says")
    given = {name: filled.arrays.get(name, np.empty((0, 1))) for name in columns.keys() - TEXTS}
    ready = {name: checked_texts(values, name) for name, values in texts.items()}
    return PoolContents(
        ready[IDS], {name: as_feature(name, array) for name, array in given.items()}, ready.get("sources")
    )


def _batches(parquet: Any) -> Iterator[pa.RecordBatch]:
    for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        if len(batch):
            yield batch


def _rows(batch: pa.RecordBatch, name: str, parts: list[str], start: int) -> NDArray[Any]:
    if len(parts) == 1 and _is_list(batch.schema.field(parts[0]).type):
        return _from_lists(batch.column(parts[0]), name, start)
    values = np.column_stack([_plain(batch.column(part), name, start, 1) for part in parts])
    return values


def _from_lists(array: Any, name: str, start: int) -> NDArray[Any]:
    """(n, ...) of lists that all have the same length, at every depth."""
    shape = [len(array)]
    while _is_list(array.type):
        _refuse_nulls(array, name, start, math.prod(shape[1:]))
        lengths = _lengths(array)
        width = int(lengths[0]) if len(lengths) else 0
        if (lengths != width).any():
            wrong = np.flatnonzero(lengths != width) // max(1, math.prod(shape[1:])) + start
            _refuse_ragged(name, np.unique(wrong).tolist(), (width,))
        array = array.flatten()
        shape.append(width)
    return _plain(array, name, start, math.prod(shape[1:])).reshape(shape)


def _lengths(array: Any) -> NDArray[np.int64]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        return np.full(len(array), array.type.list_size, dtype=np.int64)
    lengths: NDArray[np.int64] = array.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _plain(array: Any, name: str, start: int, values_a_row: int) -> NDArray[Any]:
    _refuse_nulls(array, name, start, values_a_row)
    plain: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return plain


def _refuse_nulls(array: Any, name: str, start: int, values_a_row: int) -> None:
    if array.null_count:
        empty = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)) // max(1, values_a_row) + start
        rows = np.unique(empty).tolist()
        raise StrategyError(f"{name}: {named_rows(rows)} null, or holds a null", field=name, rows=rows)


def _refuse_ragged(name: str, rows: Any, width: tuple[int, ...]) -> None:
    size = " x ".join(map(str, width))
    raise StrategyError(
        f"{name}: {named_rows(list(rows))} of another length than the first ({size})", field=name, rows=rows
    )
