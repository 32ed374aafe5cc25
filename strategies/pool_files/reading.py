"""`read_pool`: which format a file is in, by its first bytes and never by its name, and what it holds."""

from __future__ import annotations

from collections.abc import Collection
from typing import IO

from strategies.errors import StrategyError
from strategies.pool_files.contents import PoolContents, PoolLimits
from strategies.pool_files.npz import read_npz
from strategies.pool_files.parquet import read_parquet

FORMATS = {b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"PAR1": "parquet"}
_HINTS = {b"\x93NUM": "a single array; numpy.savez writes several with their names", b"PARE": "encrypted Parquet"}


def format_of(head: bytes) -> str:
    """`npz` or `parquet`, by the first 4 bytes. Raises StrategyError for any other file."""
    if head[:4] in FORMATS:
        return FORMATS[head[:4]]
    said = _HINTS.get(head[:4], "neither NPZ nor Parquet") if head else "empty"
    raise StrategyError(f"the file is {said}", field="file")


def read_pool(file: IO[bytes], limits: PoolLimits, also: Collection[str] = ()) -> PoolContents:
    """The pool in `file`, which can be sought in. `also`: names of features taken beside those of strategies.Pool.

    Raises StrategyError naming array or column and rows, PoolTooLarge above `limits`, and ModuleNotFoundError for
    Parquet where pyarrow is not installed. Reads it all into memory: `limits.max_bytes`, the ids, and one batch.
    """
    file.seek(0)
    read = {"npz": read_npz, "parquet": read_parquet}[format_of(file.read(4))]
    try:
        return read(file, limits, also)
    except (StrategyError, MemoryError, ModuleNotFoundError):
        raise
    except (
        Exception
    ) as error:  # Damaged files make zipfile, NumPy and Arrow raise whatever they happen to stumble over.
        raise StrategyError(f"the file is damaged: {type(error).__name__} while it was read", field="file") from error
