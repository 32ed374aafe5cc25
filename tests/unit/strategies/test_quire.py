"""Scores equal to scikit-activeml's, and to the paper's loss worked out over all labels of the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from strategies import Pool, StrategyError, get_strategy
from strategies.base import Scores
from strategies.quire import QUIRE
from strategies.ranking import hash_keys
from tests.support.pools import Features, sample_ids


def scores(features: Features, **parameters: Any) -> Scores:
    return QUIRE(**parameters).scores(Pool(sample_ids(len(features["embeddings"])), features))


def random_features(rng: np.random.Generator, classes: int, labelled: int) -> Features:
    size, width = int(rng.integers(2, 15)), int(rng.integers(1, 6))
    return {
        "embeddings": rng.normal(size=(size, width)).astype(np.float32),
        "labelled_embeddings": rng.normal(size=(labelled, width)).astype(np.float32),
        "labelled_classes": rng.integers(0, classes, labelled).astype(np.float32),
    }


def as_one(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All samples and their labels, NaN for the pool's: as scikit-activeml takes them."""
    rows = np.concatenate([features["embeddings"], features["labelled_embeddings"]]).astype(np.float64)
    return rows, np.concatenate([np.full(len(features["embeddings"]), np.nan), features["labelled_classes"]])


@pytest.mark.shows("QUIRE", "equals scikit-activeml 1.0.1 on 200 random problems")
def test_scores_equal_scikit_activeml() -> None:
    from skactiveml.pool import Quire

    rng = np.random.default_rng(0)
    for _ in range(200):
        classes = int(rng.integers(2, 5))
        features = random_features(rng, classes, int(rng.integers(1, 8)))
        regularisation = float(rng.choice([0.1, 1.0, 3.0]))
        rows, labels = as_one(features)
        reference = Quire(classes=list(range(classes)), lmbda=regularisation, random_state=0)
        _, expected = reference.query(rows, labels, return_utilities=True)
        found = scores(features, regularisation=regularisation, n_classes=classes)
        np.testing.assert_allclose(found, expected[0, : len(found)], atol=1e-6)
        assert np.array_equal(rankdata(found.round(6)), rankdata(expected[0, : len(found)].round(6)))


@pytest.mark.shows("QUIRE", "equals the least loss over all real labels of the other samples, of explicit matrices")
def test_the_rest_of_the_pool_drops_out_of_the_least_loss() -> None:
    rng = np.random.default_rng(5)
    features = random_features(rng, 2, 4) | {"labelled_classes": np.array([0, 1, 1, 0], np.float32)}
    rows, _ = as_one(features)
    size = len(features["embeddings"])
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    form = np.linalg.inv(np.exp(-squares / rows.shape[1]) + np.eye(len(rows)))
    sides = np.array([-1.0, 1.0, 1.0, -1.0])
    losses = np.zeros((size, 2))
    for query in range(size):
        others = np.delete(np.arange(size), query)
        for place, label in enumerate((-1.0, 1.0)):
            fixed = np.array([query, *range(size, len(rows))])
            known = np.array([label, *sides])
            free = -np.linalg.solve(form[np.ix_(others, others)], form[np.ix_(others, fixed)] @ known)
            labels = np.empty(len(rows))
            labels[fixed], labels[others] = known, free
            losses[query, place] = labels @ form @ labels
    np.testing.assert_allclose(scores(features), -losses.max(axis=1), atol=1e-9)


def test_with_nothing_labelled_all_samples_are_alike_and_go_by_hash() -> None:
    features = {"embeddings": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)}
    assert np.unique(scores(features)).tolist() == [-0.5]  # 1 / (1 + lambda)
    selection = QUIRE().select(Pool(sample_ids(9), features), 9)
    assert selection.indices.tolist() == np.argsort(hash_keys(sample_ids(9), 0)).tolist()


def test_with_one_class_the_sample_farthest_from_it_is_first() -> None:
    features = {
        "embeddings": np.array([[0.1], [3.0], [1.0]], np.float32),
        "labelled_embeddings": np.zeros((1, 1), np.float32),
        "labelled_classes": np.zeros(1, np.float32),
    }
    assert QUIRE().select(Pool(sample_ids(3), features), 3).indices.tolist() == [1, 2, 0]


def test_equal_samples_score_the_same() -> None:
    rng = np.random.default_rng(1)
    features = random_features(rng, 3, 7)
    features["embeddings"] = np.repeat(features["embeddings"][:1], 101, axis=0)
    assert len(np.unique(scores(features))) == 1


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"max_pool": 4}, "max_pool"), ({"max_labelled": 2}, "max_labelled"), ({"n_classes": 2}, "n_classes")],
)
def test_what_is_above_a_cap_is_refused_by_the_parameter(parameters: dict[str, int], field: str) -> None:
    features = {
        "embeddings": np.zeros((5, 2), np.float32),
        "labelled_embeddings": np.zeros((3, 2), np.float32),
        "labelled_classes": np.array([0, 1, 2], np.float32),
    }
    with pytest.raises(StrategyError, match=field) as caught:
        get_strategy("QUIRE", parameters).select(Pool(sample_ids(5), features), 1)
    assert caught.value.field == field


def test_labelled_samples_need_a_class_each() -> None:
    features = {"embeddings": np.zeros((2, 2), np.float32), "labelled_embeddings": np.zeros((3, 2), np.float32)}
    with pytest.raises(StrategyError, match="one class for each") as caught:
        QUIRE().select(Pool(sample_ids(2), features), 1)
    assert caught.value.field == "labelled_classes"
