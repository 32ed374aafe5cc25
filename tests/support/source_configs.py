"""Configurations for tests of the sources, of one person's machine and of a public server; two tries, no pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alaas.config import Config, parse_config

QUICK = {"connect_timeout_s": 0.5, "read_timeout_s": 0.3, "total_timeout_s": 0.6}
"""For servers that never answer; too quick for others on a busy machine."""


def personal(data_dir: Path, *, http: dict[str, Any] | None = None, **sources: Any) -> Config:
    """Bound to loopback without tokens."""
    return parse_config(_raw(data_dir, http or {}, sources))


def public(data_dir: Path, *, http: dict[str, Any] | None = None, **sources: Any) -> Config:
    """With tokens: only global addresses and what the operator lists."""
    tokens = {"tokens": [{"owner": "somebody", "sha256": "0" * 64}]}
    return parse_config(_raw(data_dir, http or {}, sources) | {"api": tokens})


def _raw(data_dir: Path, http: dict[str, Any], sources: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"attempts": 2, "retry_delay_s": 0.0, "file": {"roots": []}, "http": http}
    return {"storage": {"data_dir": str(data_dir)}, "sources": defaults | sources}
