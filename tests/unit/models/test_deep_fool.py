"""Distances to decision boundaries: exact where the model is linear, near where it is not, and never a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alaas.jobs import Feature
from alaas_workers.models import load_model
from alaas_workers.models.deep_fool import MAX_CLASSES, MAX_STEPS, NEVER, boundary_distances
from tests.support.tiny_models import drop_config, tiny_config


def _distances(scores_of: Any, points: Any) -> list[float]:
    batch = torch.as_tensor(points, dtype=torch.float32)
    return [float(value) for value in boundary_distances(scores_of, batch, lambda: None)[:, 0]]


def _linear(weights: Any, bias: Any) -> Any:
    matrix, offset = (torch.tensor(values, dtype=torch.float32) for values in (weights, bias))
    return lambda batch: batch @ matrix.T + offset


def test_between_two_classes_it_is_the_distance_to_their_line() -> None:
    # Scores 3x + 4y + 5 and 0: the boundary is 3x + 4y = -5, whose distance from (x, y) is |3x + 4y + 5| / 5.
    scores_of = _linear([[3, 4], [0, 0]], [5, 0])
    assert _distances(scores_of, [[0, 0], [1, 2], [-3, -4]]) == pytest.approx([1.0, 3.2, 4.0], rel=1e-5)


def test_of_several_boundaries_it_is_the_distance_to_the_nearest() -> None:
    # Class 0 wins at the origin by 2 over class 1, whose line is 2 / 1 away, and by 3 over class 2, 3 / 5 away.
    scores_of = _linear([[0, 0], [1, 0], [3, 4]], [3, 1, 0])
    assert _distances(scores_of, [[0, 0]]) == pytest.approx([0.6], rel=1e-5)


def test_of_random_linear_models_it_is_the_nearest_hyperplane() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights, bias, points = rng.normal(size=(6, 8)), rng.normal(size=6), rng.normal(size=(9, 8))
        scores = points @ weights.T + bias
        expected = []
        for row in scores:
            best = int(row.argmax())
            others = [k for k in range(6) if k != best]
            expected.append(min((row[best] - row[k]) / np.linalg.norm(weights[best] - weights[k]) for k in others))
        assert _distances(_linear(weights.tolist(), bias.tolist()), points) == pytest.approx(expected, rel=1e-4)


def test_on_the_boundary_it_is_zero() -> None:
    assert _distances(_linear([[1, 0], [-1, 0]], [0, 0]), [[0, 7]]) == [0.0]


def test_where_no_boundary_is_reached_it_is_the_largest_number() -> None:
    assert _distances(_linear([[0, 0], [0, 0]], [1, 0]), [[3, 4]]) == [NEVER]
    assert np.isfinite(np.float32(NEVER))


def test_a_boundary_that_is_always_as_far_away_is_given_up() -> None:
    steps: list[None] = []

    def flees(batch: torch.Tensor) -> torch.Tensor:
        ahead = batch.sum(1) - batch.sum(1).detach() + 1  # whatever was done, the other class is behind by one
        return torch.stack([ahead, torch.zeros_like(ahead)], 1)

    rows = boundary_distances(flees, torch.zeros(2, 3), lambda: steps.append(None))
    assert rows.tolist() == [[NEVER], [NEVER]]
    assert len(steps) == MAX_STEPS


def test_a_curved_boundary_is_found_in_several_steps() -> None:
    def circle(batch: torch.Tensor) -> torch.Tensor:
        outside = (batch**2).sum(1) - 1
        return torch.stack([outside, torch.zeros_like(outside)], 1)

    assert _distances(circle, [[2, 0], [0, -3]]) == pytest.approx([1.0, 2.0], rel=0.03)


def test_a_sample_without_finite_scores_has_no_distance_and_the_others_keep_theirs() -> None:
    def broken(batch: torch.Tensor) -> torch.Tensor:
        scores = _linear([[3, 4], [0, 0]], [5, 0])(batch)
        return torch.where(batch[:, :1] > 50, torch.nan, scores)

    rows = _distances(broken, [[99, 0], [0, 0]])
    assert np.isnan(rows[0]) and rows[1] == pytest.approx(1.0, rel=1e-5)


def test_only_the_best_classes_are_aimed_at() -> None:
    """The nearest boundary is that of the class that scores lowest; the paper looks at the first few too."""
    classes = MAX_CLASSES + 1
    weights = [[0.0]] + [[1.0 + place] for place in range(classes - 2)] + [[1000.0]]
    bias = [0.0] + [-float(place + 1) for place in range(classes - 2)] + [-500.0]
    assert _distances(_linear(weights, bias), [[0]]) == pytest.approx([1.0], rel=1e-5)


def test_the_input_is_left_as_it_is() -> None:
    batch = torch.ones(2, 2)
    boundary_distances(_linear([[3, 4], [0, 0]], [5, 0]), batch, lambda: None)
    assert torch.equal(batch, torch.ones(2, 2)) and not batch.requires_grad


@pytest.mark.parametrize("config", [tiny_config, drop_config])
def test_a_network_gives_distances_beside_its_usual_features_and_keeps_no_gradients(
    tmp_path: Path, config: Any
) -> None:
    model = load_model("m", config(tmp_path))
    batch = torch.randn(8, 3, 16, 16)
    before = model.outputs(batch)
    rows = model.outputs(batch, [Feature.BOUNDARY_DISTANCES])[Feature.BOUNDARY_DISTANCES]
    assert rows.shape == (8, 1) and bool((rows > 0).all()) and not rows.requires_grad
    assert all(parameter.grad is None for parameter in model.module.parameters())
    after = model.outputs(batch)
    assert all(torch.equal(before[feature], after[feature]) for feature in before)
