"""Labels that do not exclude one another and boxes: uncertainty of each, and what an image makes of them, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from strategies import Pool, Selection, StrategyError, get_strategy
from strategies.ranking import hash_keys
from tests.support.pools import sample_ids

LN2 = float(np.log(2.0))
FEATURE = {"MultiLabelUncertainty": "label_probabilities", "DetectionUncertainty": "box_scores"}


def select(name: str, rows: list[list[float]], budget: int | None = None, **parameters: Any) -> Selection:
    pool = Pool(sample_ids(len(rows)), {FEATURE[name]: np.array(rows, dtype=np.float32)})
    return get_strategy(name, parameters).select(pool, len(rows) if budget is None else budget)


def scores(name: str, rows: list[list[float]], **parameters: Any) -> list[float]:
    """In the order of `rows`."""
    selection = select(name, rows, **parameters)
    return [float(selection.scores[list(selection.indices).index(row)]) for row in range(len(rows))]


@pytest.mark.shows("MultiLabelUncertainty", "vectors worked out by hand, with exact zeros and ones")
@pytest.mark.parametrize(
    ("measure", "aggregate", "expected"),
    [
        ("entropy", "mean", [LN2, LN2 / 2, 0.0]),
        ("entropy", "max", [LN2, LN2, 0.0]),
        ("entropy", "sum", [2 * LN2, LN2, 0.0]),
        ("least_confidence", "mean", [0.5, 0.25, 0.0]),
        ("least_confidence", "max", [0.5, 0.5, 0.0]),
        ("least_confidence", "sum", [1.0, 0.5, 0.0]),
    ],
)
def test_labels_are_uncertain_each_by_itself(measure: str, aggregate: str, expected: list[float]) -> None:
    rows = [[0.5, 0.5], [0.5, 1.0], [0.0, 1.0]]
    assert scores("MultiLabelUncertainty", rows, measure=measure, aggregate=aggregate) == pytest.approx(expected)


@pytest.mark.shows("DetectionUncertainty", "vectors worked out by hand; images without boxes")
@pytest.mark.parametrize(
    ("measure", "aggregate", "expected"),
    [
        ("entropy", "max", [LN2, LN2, 0.0, 0.0]),
        ("entropy", "mean", [LN2, LN2 / 2, 0.0, 0.0]),
        ("entropy", "sum", [LN2, LN2, 0.0, 0.0]),
        ("least_confidence", "max", [0.5, 0.5, 0.0, 0.0]),
        ("least_confidence", "mean", [0.5, 0.25, 0.0, 0.0]),
        ("least_confidence", "sum", [0.5, 0.5, 0.0, 0.0]),
    ],
)
def test_the_mean_of_boxes_is_over_the_boxes_that_are_there(
    measure: str, aggregate: str, expected: list[float]
) -> None:
    rows = [[0.5, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert scores("DetectionUncertainty", rows, measure=measure, aggregate=aggregate) == pytest.approx(expected)


@pytest.mark.shows("DetectionUncertainty", "the sum prefers an image with many boxes, the mean does not")
def test_the_sum_prefers_many_boxes() -> None:
    rows = [[0.6, 0.0, 0.0, 0.0], [0.8, 0.8, 0.8, 0.8]]
    first = {way: select("DetectionUncertainty", rows, 1, aggregate=way).indices[0] for way in ("max", "mean", "sum")}
    assert first == {"max": 0, "mean": 0, "sum": 1}


@pytest.mark.shows("DetectionUncertainty", "images without boxes come last, by hash")
def test_images_without_boxes_come_last_by_hash() -> None:
    selection = select("DetectionUncertainty", [[0.0] * 3] * 20 + [[0.999, 0.0, 0.0]])
    assert selection.indices[0] == 20
    assert selection.indices[1:].tolist() == np.argsort(hash_keys(sample_ids(20), 0)).tolist()
    assert {str(score) for score in selection.scores[1:].tolist()} == {"0.0"}


@pytest.mark.shows("MultiLabelUncertainty", "scikit-learn's cross-entropy of a label with itself")
def test_the_entropy_of_a_label_is_scikit_learns() -> None:
    for p in np.random.default_rng(0).random(50):
        expected = log_loss([0, 1], [[1 - p, p]] * 2, sample_weight=[1 - p, p])
        assert scores("MultiLabelUncertainty", [[float(np.float32(p))]])[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.shows("MultiLabelUncertainty", "binary minimum: the label nearest to one half comes first")
def test_the_maximum_is_brinkers_binary_minimum() -> None:
    rows = np.random.default_rng(1).random((200, 9)).astype(np.float32)
    expected = np.argsort(np.abs(rows.astype(np.float64) - 0.5).min(axis=1))
    for measure in ("entropy", "least_confidence"):
        chosen = select("MultiLabelUncertainty", rows.tolist(), aggregate="max", measure=measure).indices
        assert chosen.tolist() == expected.tolist()


def test_the_sum_over_labels_ranks_as_the_mean() -> None:
    rows = np.random.default_rng(2).random((200, 7)).tolist()
    by_sum, by_mean = (select("MultiLabelUncertainty", rows, aggregate=way) for way in ("sum", "mean"))
    assert by_sum.indices.tolist() == by_mean.indices.tolist()


def test_the_report_says_which_label_was_least_sure() -> None:
    parts = select("MultiLabelUncertainty", [[0.75, 0.0, 0.375, 1.0]]).parts
    assert {name: values.tolist() for name, values in parts.items()} == {
        "predicted_labels": [2.0],
        "least_sure_label": [2.0],
        "p": [0.375],
    }


def test_the_report_says_how_many_boxes_there_are_and_which_was_least_sure() -> None:
    parts = select("DetectionUncertainty", [[0.875, 0.625, 0.25, 0.0], [0.0] * 4]).parts
    assert {name: values.tolist() for name, values in parts.items()} == {
        "boxes": [3.0, 0.0],
        "highest_score": [0.875, 0.0],
        "least_sure_score": [0.625, 0.0],
    }


@pytest.mark.parametrize("name", FEATURE)
@pytest.mark.parametrize(("wrong", "complaint"), [(-0.1, "negative"), (1.1, "above 1"), (np.nan, "NaN")])
def test_what_is_no_probability_is_refused_by_row(name: str, wrong: float, complaint: str) -> None:
    with pytest.raises(StrategyError, match=f"row 1 .*{complaint}") as caught:
        select(name, [[0.5, 0.5], [0.5, wrong]], 1)
    assert (caught.value.field, caught.value.rows) == (FEATURE[name], (1,))


def test_logits_in_the_place_of_probabilities_are_told_apart() -> None:
    with pytest.raises(StrategyError, match="take the sigmoid"):
        select("MultiLabelUncertainty", [[-3.0, 4.0]], 1)
