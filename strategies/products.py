"""Products of a pool's rows with points: on a GPU where there is one, else by NumPy.

Products only screen (see distances.py), so that what is selected is the same to the last bit wherever they were made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
Rows = NDArray[np.floating[Any]]
Product = Callable[[Rows], Rows]

_DRIVER = Path("/dev/nvidiactl")


def products_of(rows: Rows, device: str | None = None) -> Product:
    """A function from a point (d,) to `rows` (N, d) times it, (N,), in the precision of `rows` (float32 or float64).

    `device`: as torch names it; default: the first GPU, or NumPy where there is none or it has no room for the rows.
    """
    device = first_gpu() if device is None else device
    if device is not None:
        try:
            return _on_device(rows, device)
        except RuntimeError as error:  # torch's own out-of-memory errors are among these
            logger.warning("the pool does not go onto %s (%s); NumPy takes its place", device, error)
    return lambda point: rows @ point


def all_products(rows: Rows, points: Rows) -> Rows:
    """`rows` (M, d) times each of `points` (K, d), of one precision: (M, K)."""
    device = first_gpu()
    if device is not None:
        try:
            return _all_on_device(rows, points, device)
        except RuntimeError as error:
            logger.warning("a product does not go onto %s (%s); NumPy takes its place", device, error)
    product: Rows = rows @ points.T
    return product


@cache
def first_gpu() -> str | None:
    """None without asking torch, which takes seconds to import, where there is no driver or the GPUs are hidden."""
    if not _DRIVER.exists() or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    try:
        import torch
    except ImportError:
        return None
    return "cuda:0" if torch.cuda.is_available() else None


def _on_device(rows: Rows, device: str) -> Product:
    import torch

    matrix = torch.tensor(rows, device=device)  # a copy also on the CPU, where a read-only array could not be shared

    def product(point: Rows) -> Rows:
        vector = torch.tensor(point, device=device)
        result: Rows = torch.mv(matrix, vector).cpu().numpy()
        return result

    return product


def _all_on_device(rows: Rows, points: Rows, device: str) -> Rows:
    import torch

    product = torch.tensor(rows, device=device) @ torch.tensor(points, device=device).T
    result: Rows = product.cpu().numpy()
    return result
