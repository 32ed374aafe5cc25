"""Near pairs are exactly those that float64 differences give, whatever the blocks, scales and offsets."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import balls
from strategies.balls import Balls


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_pairs_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch, scale: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    for side in (1, 3, 7, 512):  # the last block is a part
        monkeypatch.setattr(balls, "_SIDE", side)
        rows = ((rng.integers(0, 4, size=(20, 3)) + offset) * scale).astype(np.float32)
        points = rows[rng.integers(0, 20, 8)] + np.float32(scale)
        squares = np.square(points.astype(float)[:, None] - rows.astype(float)[None]).sum(axis=2)
        for square in np.unique(squares)[[0, 3, -1]]:
            found = [pair for parts in Balls(rows, points).pairs(points, square) for pair in zip(*parts, strict=True)]
            assert sorted(found) == sorted(zip(*np.nonzero(squares <= square), strict=True))


def test_the_nearest_of_another_kind_is_that_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balls, "_SIDE", 7)
    rng = np.random.default_rng(1)
    rows = (100 + rng.normal(size=(40, 3))).astype(np.float32)
    kinds = rng.integers(0, 3, 40)
    squares = np.square(rows.astype(float)[:, None] - rows.astype(float)[None]).sum(axis=2)
    squares[kinds[:, None] == kinds] = np.inf
    assert np.array_equal(Balls(rows).nearest_unlike(rows, kinds, kinds), squares.min(axis=1))
    assert np.isinf(Balls(rows).nearest_unlike(rows, kinds * 0, kinds * 0)).all()
