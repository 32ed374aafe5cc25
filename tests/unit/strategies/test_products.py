"""Products on a device of torch, for which the CPU stands in, give the selection that NumPy's give."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from strategies import Pool, Selection, get_strategy, k_center, products
from strategies.products import products_of
from tests.support.pools import embeddings, probabilities, sample_ids


def select() -> Selection:
    rows = embeddings(np.random.default_rng(0), 300)
    return get_strategy("KCenterSampling").select(Pool(sample_ids(300), {"embeddings": rows}), 120)


def test_a_product_on_a_device_is_that_of_numpy_within_rounding() -> None:
    rng = np.random.default_rng(1)
    rows, point = rng.normal(size=(50, 16)), rng.normal(size=16)
    assert products_of(rows, "cpu")(point) == pytest.approx(rows @ point, abs=1e-13)
    product = products_of(rows.astype(np.float32), "cpu")(point.astype(np.float32))
    assert product.dtype == np.float32
    assert product == pytest.approx(rows @ point, abs=1e-4)


@pytest.mark.shows("KCenterSampling", "products of torch, in place of NumPy's, change no bit of the selection")
def test_products_on_a_device_change_no_bit_of_the_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = select()
    monkeypatch.setattr(k_center, "products_of", partial(products_of, device="cpu"))
    moved = select()
    assert np.array_equal(plain.indices, moved.indices)
    assert np.array_equal(plain.scores, moved.scores)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Badge", {}),
        ("InformationDensity", {"neighbours": 5}),
        ("KCenterSampling", {}),
        ("KMeansSampling", {}),
        ("ProbCover", {"delta": 2.0}),
    ],
)
def test_every_screening_product_may_be_made_on_a_device(
    monkeypatch: pytest.MonkeyPatch, name: str, parameters: dict[str, Any]
) -> None:
    rng = np.random.default_rng(4)
    features = {"embeddings": embeddings(rng, 400), "probabilities": probabilities(rng, 400)}
    pool = Pool(sample_ids(400), features)
    plain = get_strategy(name, parameters).select(pool, 60)
    used = Mock(return_value="cpu")
    monkeypatch.setattr(products, "first_gpu", used)
    moved = get_strategy(name, parameters).select(pool, 60)
    assert used.called
    assert np.array_equal(plain.indices, moved.indices) and np.array_equal(plain.scores, moved.scores)


def test_numpy_takes_the_place_of_a_device_that_has_no_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(products, "_on_device", full)
    with caplog.at_level(logging.WARNING):
        assert products_of(np.eye(2), "cpu")(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert "out of memory" in caplog.text


def test_torch_is_not_asked_for_a_gpu_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_DRIVER", Path("/no/such/device"))
    first = products.first_gpu.__wrapped__
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # an import of it would raise
    assert first() is None
