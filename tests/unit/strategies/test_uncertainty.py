"""The four uncertainty scores, against vectors worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from skactiveml.pool import uncertainty_scores

from strategies import Pool, get_strategy
from strategies.uncertainty import entropy, least_confidence, margin_confidence, ratio_confidence
from tests.support.pools import sample_ids

Array = NDArray[np.float64]
SCORES = [least_confidence, margin_confidence, ratio_confidence, entropy]
LN2 = np.log(2.0)


def shows(what: str, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a test for the page of each of `names`; default: all four."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        for name in names or ("LeastConfidence", "MarginConfidence", "RatioConfidence", "EntropySampling"):
            test = pytest.mark.shows(name, what)(test)
        return test

    return mark


@shows("vectors worked out by hand, with exact zeros and ones")
@pytest.mark.parametrize(
    ("row", "least", "margin", "ratio", "nats"),
    [
        ([0.5, 0.25, 0.25], 0.5, 0.75, 0.5, 1.5 * LN2),
        ([0.25, 0.25, 0.25, 0.25], 0.75, 1.0, 1.0, 2 * LN2),
        ([0.125, 0.5, 0.0, 0.375], 0.5, 0.875, 0.75, 0.125 * 3 * LN2 + 0.5 * LN2 - 0.375 * np.log(0.375)),
        ([1.0, 0.0, 0.0], 0.0, 0.0, 0.0, 0.0),
        ([0.0, 0.5, 0.5, 0.0], 0.5, 1.0, 1.0, LN2),
        ([0.5], 0.5, 1.0, 1.0, LN2),
        ([0.25], 0.25, 0.5, 1 / 3, 0.25 * 2 * LN2 - 0.75 * np.log(0.75)),
        ([0.0], 0.0, 0.0, 0.0, 0.0),
        ([1.0], 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_scores_are_those_worked_out_by_hand(
    row: list[float], least: float, margin: float, ratio: float, nats: float
) -> None:
    p = np.array([row])
    expected = [least, margin, ratio, nats]
    assert [float(score(p)[0]) for score in SCORES] == pytest.approx(expected, abs=1e-15)


@shows("a certain row ranks last, an even one first")
@pytest.mark.parametrize("name", ["LeastConfidence", "MarginConfidence", "RatioConfidence", "EntropySampling"])
def test_a_certain_row_ranks_last_and_an_even_one_first(name: str) -> None:
    p = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.9, 0.1, 0], [0, 1, 0]], dtype=np.float32)
    selection = get_strategy(name).select(Pool(sample_ids(4), {"probabilities": p}), 4)
    assert selection.indices[:2].tolist() == [1, 2]
    assert selection.scores[2:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LeastConfidence", [2, 1, 0]),  # 0.5, 0.54, 0.6
        ("MarginConfidence", [0, 1, 2]),  # 1.0, 0.96, 0.9
        ("EntropySampling", [2, 1, 0]),
    ],
)
def test_strategies_rank_as_their_definitions_differ(name: str, expected: list[int]) -> None:
    p = np.array([[0.5, 0.5, 0.0, 0.0], [0.46, 0.42, 0.12, 0.0], [0.4, 0.3, 0.2, 0.1]], dtype=np.float32)
    assert get_strategy(name).select(Pool(sample_ids(3), {"probabilities": p}), 3).indices.tolist() == expected


def test_the_strategy_computes_in_float64_from_float32() -> None:
    p = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    score = get_strategy("LeastConfidence").select(Pool(["a"], {"probabilities": p}), 1).scores[0]
    assert score == 1.0 - float(np.float32(0.7))


@shows("scikit-activeml 1.0.1 on 300 random problems", "LeastConfidence", "MarginConfidence", "EntropySampling")
def test_scores_are_those_of_scikit_activeml() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.full(rng.integers(2, 20), rng.choice([0.05, 0.5, 5.0])), size=rng.integers(1, 40))
        # It ranks margins by p2 - p1, and we by 1 more, so that every score is 0 or above.
        ours = {"least_confident": least_confidence(p), "margin_sampling": margin_confidence(p), "entropy": entropy(p)}
        for method, scores in ours.items():
            assert scores == pytest.approx(uncertainty_scores(p, method=method), abs=1e-12), (seed, method)


@shows("finite and bounded for any probabilities, and the same wherever the row stands")
@pytest.mark.parametrize("score", SCORES)
@given(
    logits=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.integers(2, 20)), elements=st.floats(-200, 200, width=32)
    )
)
def test_scores_are_finite_bounded_and_independent_of_the_row(score: Callable[[Array], Array], logits: Array) -> None:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    p = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    scores = score(p)
    assert np.isfinite(scores).all()
    assert (scores >= -1e-6).all() and (scores <= max(1.0, np.log(p.shape[1])) + 1e-6).all()
    assert np.array_equal(scores[::-1], score(np.ascontiguousarray(p[::-1])))
    assert np.array_equal(scores, np.concatenate([score(row[None]) for row in p]))


@given(p=hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(1)), elements=st.floats(0, 1)))
def test_one_column_scores_as_its_two_sides(p: Array) -> None:
    for score in SCORES:
        assert np.array_equal(score(p), score(np.hstack([1 - p, p])))
