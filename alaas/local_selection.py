"""A selection from one's own scores on this machine, without a server: nothing leaves it. For `alaas select`."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import IO

from alaas.errors import ConfigError
from alaas.selection_process import select_apart
from alaas.selections import SelectAnswer, SelectRequest, SelectTask

_NEEDED = ("strategies", "numpy", "scipy", "sklearn")


def select_here(file: IO[bytes], request: SelectRequest, timeout_s: float | None = None) -> SelectAnswer:
    """Raises InvalidRequest naming what is wrong in the file, SelectionFailed, and ConfigError for a bare client."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        said = f"selecting here takes the server's packages ({', '.join(missing)} lack)"
        raise ConfigError(f"{said}: install alaas[server], or name a server with --server")
    with tempfile.TemporaryFile() as answer:
        task = SelectTask(
            request=request,
            file=file.fileno(),
            answer=answer.fileno(),
            max_rows=2**31,
            max_bytes=_memory_bytes() // 2,
        )
        select_apart(task, timeout_s)
        answer.seek(0)
        return SelectAnswer.model_validate_json(answer.read())


def _memory_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
