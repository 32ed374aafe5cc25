"""A pool from somebody's file: NPZ (without pickles) or Parquet, read as if its sender were hostile.

Declared sizes are judged before anything is read, and what is read is held to them. The formats stand in
docs/bring-your-own-scores.md.
"""

from strategies.pool_files.contents import PoolContents, PoolLimits, PoolTooLarge
from strategies.pool_files.reading import FORMATS, format_of, read_pool

__all__ = ["FORMATS", "PoolContents", "PoolLimits", "PoolTooLarge", "format_of", "read_pool"]
