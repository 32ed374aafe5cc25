"""Files of scores as users bring them, and the form that carries them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def probabilities(count: int, classes: int = 3, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count)


def a_pool(count: int = 20) -> bytes:
    return npz(ids=np.array([f"s{number}" for number in range(count)]), probabilities=probabilities(count))


def a_heavy_pool(count: int = 30_000) -> bytes:
    """Choosing all of it one after the other takes a minute."""
    values = np.random.default_rng(0).standard_normal((count, 128)).astype(np.float32)
    return npz(ids=np.arange(count), embeddings=values)


def form(file: bytes, **request: Any) -> bytes:
    """The body of POST /v1/select, with the boundary `b`."""
    return part("request", json.dumps(request).encode()) + part("file", file) + b"--b--\r\n"


def part(name: str, data: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + data + b"\r\n"
