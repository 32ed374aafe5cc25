"""How far a sample is from the nearest decision boundary: the smallest change of the model's input that reaches it.

Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool"; as a score Ducoffe and Precioso 2018, "Adversarial Active
Learning for Deep Networks: a Margin Based Approach". L2 over the input as the transform made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Scores = Callable[[torch.Tensor], torch.Tensor]

MAX_STEPS = 50
MAX_CLASSES = 10
"""A boundary is looked for between the predicted class and the best of the others, this many classes in all."""

OVERSHOOT = 0.02
"""The next point lies this share beyond the step's sum, so that it is past the boundary. Not part of the distance."""

NEVER = torch.finfo(torch.float32).max
_TIED = 2.0**-20  # of two scores' size: float32 cannot tell on which side of the boundary such a point is


@dataclass
class _Linear:
    """A model (N, C) at a point, as if it were linear: K of its classes (N, K), and their gradients (K, N, D)."""

    all_scores: torch.Tensor
    classes: torch.Tensor
    gradients: torch.Tensor


def boundary_distances(scores_of: Scores, batch: torch.Tensor, progress: Callable[[], None]) -> torch.Tensor:
    """(N, 1) float32 for `batch` (N, ...); NEVER where no boundary is reached, NaN where the scores are not finite.

    `scores_of` gives (N, C) logits, each row from its own row of the batch. `progress` is called after each step.
    Costs up to MAX_STEPS times a forward pass and min(C, MAX_CLASSES) backward passes; two or three steps are usual.
    """
    start = batch.detach().clone()
    moved = torch.zeros_like(start).flatten(1)  # the sum of the steps
    distances = torch.full((len(start), 1), NEVER, device=start.device)
    is_open = torch.ones(len(start), dtype=torch.bool, device=start.device)
    classes: torch.Tensor | None = None
    for _ in range(MAX_STEPS):
        # Rows that are through stay in the batch: its size decides how matrices are multiplied, and so the rounding.
        linear = _linear_at(scores_of, start + (1 + OVERSHOOT) * moved.view_as(start), classes)
        if classes is None:
            classes = linear.classes
            distances[~torch.isfinite(linear.all_scores).all(1)] = torch.nan
        reached = is_open & _has_reached(linear.all_scores, classes[:, 0])
        distances = torch.where(reached[:, None], torch.linalg.vector_norm(moved, dim=1, keepdim=True), distances)
        step, can_step = _step(linear)
        is_open &= ~reached & can_step
        moved += torch.where(is_open[:, None], step, 0)
        progress()
        if not bool(is_open.any()):
            break
    return distances


def _linear_at(scores_of: Scores, point: torch.Tensor, classes: torch.Tensor | None) -> _Linear:
    """`classes`: None for the best at this point, best first."""
    with torch.enable_grad():
        point.requires_grad_(True)
        all_scores = scores_of(point)
        if classes is None:
            ranked = torch.sort(all_scores.detach(), dim=1, descending=True, stable=True)
            classes = ranked.indices[:, :MAX_CLASSES]
        scores = all_scores.gather(1, classes)
        # The rows do not depend on one another, so that one backward pass gives a class's gradient of every row.
        gradients = [
            torch.autograd.grad(scores[:, number].sum(), point, retain_graph=number + 1 < classes.shape[1])[0]
            for number in range(classes.shape[1])
        ]
    return _Linear(all_scores.detach(), classes, torch.stack([each.flatten(1) for each in gradients]))


def _has_reached(scores: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Whether another class scores as high as the one predicted at the start, as far as float32 can tell."""
    own = scores.gather(1, predicted[:, None])
    others = scores.scatter(1, predicted[:, None], -torch.inf)
    best = others.max(1, keepdim=True).values
    return (own - best <= _TIED * (own.abs() + best.abs()))[:, 0]


def _step(linear: _Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) to the nearest of the boundaries as they look from here, and (N,) whether there is a way to any."""
    slopes = linear.gradients[1:] - linear.gradients[0]
    scores = linear.all_scores.gather(1, linear.classes)
    gaps = (scores[:, :1] - scores[:, 1:]).T.abs()
    steepness = torch.linalg.vector_norm(slopes, dim=2)
    ways = torch.where(steepness > 0, gaps / steepness, torch.inf)
    nearest = torch.where(torch.isfinite(ways), ways, torch.inf).min(0)
    rows = torch.arange(slopes.shape[1], device=slopes.device)
    direction = slopes[nearest.indices, rows] / steepness[nearest.indices, rows][:, None]
    step = direction * nearest.values[:, None]
    return step, torch.isfinite(nearest.values) & torch.isfinite(step).all(1)
