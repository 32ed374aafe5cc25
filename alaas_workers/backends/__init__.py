"""What runs a model: a chunk's arrays in, features out. Importing this loads no torch; opening a torch backend does."""

from __future__ import annotations

from alaas_workers.backends.protocol import Backend, EngineAway, EngineChanged, RemoteBackend, Rows, bad_rows
from alaas_workers.backends.registry import ENGINES, engine_of, open_backend

__all__ = [
    "ENGINES",
    "Backend",
    "EngineAway",
    "EngineChanged",
    "RemoteBackend",
    "Rows",
    "bad_rows",
    "engine_of",
    "open_backend",
]
