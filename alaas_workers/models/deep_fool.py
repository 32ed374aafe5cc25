"""How far a sample is from the nearest decision boundary: the smallest change of the model's input that reaches it.

Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool"; as a score Ducoffe and Precioso 2018, "Adversarial Active
Learning for Deep Networks: a Margin Based Approach". L2 over the input as the transform made it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Scores = Callable[[torch.Tensor], torch.Tensor]

MAX_STEPS = 50
MAX_CLASSES = 10
"""A boundary is looked for between the predicted class and the best of the others, this many classes in all."""

OVERSHOOT = 0.02
"""The next point lies this share beyond the step's sum, so that it is past the boundary. Not part of the distance."""

NEVER = torch.finfo(torch.float32).max
_TIED = 2.0**-20  # of two scores' size: float32 cannot tell on which side of the boundary such a point is


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
        point = (start + (1 + OVERSHOOT) * moved.view_as(start)).requires_grad_(True)
        with torch.enable_grad():
            graph = scores_of(point)
        scores = graph.detach()
        if classes is None:
            classes = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :MAX_CLASSES]
            is_open = torch.isfinite(scores).all(1)
            distances[~is_open] = torch.nan
        reached = is_open & _has_reached(scores, classes[:, 0])
        distances = torch.where(reached[:, None], torch.linalg.vector_norm(moved, dim=1, keepdim=True), distances)
        is_open &= ~reached
        if not bool(is_open.any()):
            break
        step, has_way = _step(scores.gather(1, classes), _gradients(graph, classes, point))
        is_open &= has_way
        moved += torch.where(is_open[:, None], step, 0)
        progress()
    return distances


def _gradients(scores: torch.Tensor, classes: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """(K, N, D) of each row's K classes (N, K) with respect to its point."""
    with torch.enable_grad():
        chosen = scores.gather(1, classes)
        # The rows do not depend on one another, so that one backward pass gives a class's gradient of every row.
        sums = [chosen[:, number].sum() for number in range(classes.shape[1])]
        gradients = [torch.autograd.grad(one, point, retain_graph=one is not sums[-1])[0] for one in sums]
    return torch.stack([each.flatten(1) for each in gradients])


def _has_reached(scores: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Whether another class scores as high as the one predicted at the start, as far as float32 can tell."""
    own = scores.gather(1, predicted[:, None])
    others = scores.scatter(1, predicted[:, None], -torch.inf)
    best = others.max(1, keepdim=True).values
    return (own - best <= _TIED * (own.abs() + best.abs()))[:, 0]


def _step(scores: torch.Tensor, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) to the nearest boundary of the linear model that `gradients` (K, N, D) make of `scores` (N, K), the
    predicted class first; and (N,) whether there is a way to any.
    """
    slopes = gradients[1:] - gradients[0]
    gaps = (scores[:, :1] - scores[:, 1:]).T.abs()
    steepness = torch.linalg.vector_norm(slopes, dim=2)
    ways = torch.where(steepness > 0, gaps / steepness, torch.inf)
    nearest = torch.where(torch.isfinite(ways), ways, torch.inf).min(0)
    rows = torch.arange(slopes.shape[1], device=slopes.device)
    direction = slopes[nearest.indices, rows] / steepness[nearest.indices, rows][:, None]
    step = direction * nearest.values[:, None]
    return step, torch.isfinite(nearest.values) & torch.isfinite(step).all(1)
