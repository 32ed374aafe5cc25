"""Scores equal to scikit-activeml's Monte Carlo expected error reduction of a Parzen window, and worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from strategies import Pool, StrategyError, get_strategy
from strategies.base import Scores
from strategies.expected_error import ExpectedErrorReduction
from strategies.ranking import hash_keys
from tests.support.pools import Features, sample_ids


def scores(features: Features, **parameters: Any) -> Scores:
    return ExpectedErrorReduction(**parameters).scores(Pool(sample_ids(len(features["embeddings"])), features))


def on_a_line(pool: list[float], labelled: list[float], classes: list[int]) -> Features:
    return {
        "embeddings": np.array(pool, np.float32)[:, None],
        "labelled_embeddings": np.array(labelled, np.float32)[:, None],
        "labelled_classes": np.array(classes, np.float32),
    }


@pytest.mark.shows("ExpectedErrorReduction", "equals scikit-activeml 1.0.1 (MonteCarloEER) on 100 random problems")
@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_scores_equal_scikit_activeml(prior: float) -> None:
    from skactiveml.classifier import ParzenWindowClassifier
    from skactiveml.pool import MonteCarloEER

    rng = np.random.default_rng(int(10 * prior))
    for _ in range(50):
        size, labelled, width, classes = (
            int(rng.integers(low, high)) for low, high in ((2, 9), (1, 7), (1, 5), (2, 5))
        )
        features = {
            "embeddings": rng.normal(size=(size, width)).astype(np.float32),
            "labelled_embeddings": rng.normal(size=(labelled, width)).astype(np.float32),
            "labelled_classes": rng.integers(0, classes, labelled).astype(np.float32),
        }
        rows = np.concatenate([features["embeddings"], features["labelled_embeddings"]]).astype(np.float64)
        labels = np.concatenate([np.full(size, np.nan), features["labelled_classes"]])
        window = ParzenWindowClassifier(classes=list(range(classes)), class_prior=prior)
        _, expected = MonteCarloEER(random_state=0).query(rows, labels, clf=window, return_utilities=True)
        found = scores(features, class_prior=prior, n_classes=classes)
        np.testing.assert_allclose(found, expected[0, :size], atol=1e-6)
        assert np.array_equal(rankdata(found.round(6)), rankdata(expected[0, :size].round(6)))


@pytest.mark.shows("ExpectedErrorReduction", "a hand-worked score of one sample between two labelled ones")
def test_a_sample_between_two_classes_is_worked_out_by_hand() -> None:
    near, far = np.exp(-1.0), np.exp(-4.0)  # kernels at distances 1 and 2
    # Whichever class the sample gets, it is sure of itself by (1 + near) / (1 + 2 near); the labelled sample of that
    # class then errs by far / (1 + far + near), and the other one by the rest of its own kernel.
    own = 1 - (1 + near) / (1 + 2 * near)
    same = 1 - (1 + near) / (1 + far + near)
    other = 1 - 1 / (1 + far + near)
    assert scores(on_a_line([1.0], [0.0, 2.0], [0, 1]))[0] == pytest.approx(-(own + same + other))


def test_a_dense_region_comes_first_once_classes_have_a_prior() -> None:
    pool = on_a_line([0.0, 0.1, 0.2, 9.0], [], [])
    assert np.unique(scores(pool)).tolist() == [0.0]
    selection = ExpectedErrorReduction(class_prior=1.0).select(Pool(sample_ids(4), pool), 4)
    assert selection.indices[0] == 1
    assert selection.indices[-1] == 3


@pytest.mark.parametrize("labelled", [[], [0.5]])
def test_with_nothing_or_one_class_labelled_all_samples_are_alike_and_go_by_hash(labelled: list[float]) -> None:
    features = on_a_line([0.0, 1.0, 2.0, 0.3], labelled, [0] * len(labelled))
    selection = ExpectedErrorReduction().select(Pool(sample_ids(4), features), 4)
    assert selection.indices.tolist() == np.argsort(hash_keys(sample_ids(4), 0)).tolist()


def test_samples_too_far_for_any_kernel_belong_to_each_class_alike() -> None:
    assert scores(on_a_line([1e6], [0.0], [0]), n_classes=4).tolist() == [0.0]  # itself it would know, and the other is
    assert scores(on_a_line([1e6, -1e6], [0.0], [0]), n_classes=4).tolist() == [-0.75, -0.75]


def test_equal_samples_score_the_same() -> None:
    found = scores(on_a_line([0.3] * 333 + [0.7], [0.0, 1.0, 1.5], [0, 1, 2]))
    assert len(np.unique(found[:333])) == 1


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"max_pool": 4}, "max_pool"), ({"max_labelled": 2}, "max_labelled"), ({"n_classes": 2}, "n_classes")],
)
def test_what_is_above_a_cap_is_refused_by_the_parameter(parameters: dict[str, int], field: str) -> None:
    pool = Pool(sample_ids(5), on_a_line([0.0] * 5, [0.0] * 3, [0, 1, 2]))
    with pytest.raises(StrategyError, match=field) as caught:
        get_strategy("ExpectedErrorReduction", parameters).select(pool, 1)
    assert caught.value.field == field
