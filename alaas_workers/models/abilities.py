"""Which features beyond a forward pass a model can give: has it dropout that can be reached, and gradients?"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import torch

from alaas.jobs import OF_PASSES, SCORES, Feature
from alaas_workers.models.dropout import dropout_layers
from alaas_workers.models.loaded import LoadedModel, floats_of, with_floats
from alaas_workers.models.scores import not_given

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch

logger = logging.getLogger(__name__)

_PROGRAM = "a program's layers cannot be looked into"


def lacking(model: LoadedModel, batch: Batch, given: Collection[Feature]) -> dict[Feature, str]:
    """Why the model does not give some features, each as a clause. Runs one of classes a few times.

    `batch`: two rows or more, all the same. `given`: what a forward pass was seen to give.
    """
    if SCORES[model.scores_of] not in given:
        return dict.fromkeys([each for each in Feature if each not in given], "it embeds, and tells no classes apart")
    reasons = not_given(model.scores_of)
    if Feature.EMBEDDINGS not in given:
        reasons[Feature.EMBEDDINGS] = _why_no_embeddings(model)
    if model.scores_of != "classes":
        return reasons
    if (why := _why_no_passes(model, batch)) is not None:
        reasons |= dict.fromkeys(sorted(OF_PASSES), why)
    if (why := _why_no_gradients(model, batch)) is not None:
        reasons[Feature.BOUNDARY_DISTANCES] = why
    return reasons


def _why_no_embeddings(model: LoadedModel) -> str:
    if model.scores_of == "boxes":
        return "it has no backbone that gives maps of the image"
    if model.is_program:
        return f"{_PROGRAM}; let it return (scores, embedding)"
    return "its last layer is not known; name it in head"


def _why_no_passes(model: LoadedModel, batch: Batch) -> str | None:
    if model.is_program:
        return _PROGRAM
    if not dropout_layers(model.eager):
        return "the model has no dropout layers"
    try:
        rows = model.stochastic(batch, 0)
    except Exception:  # a network may not bear a hook, or what a mask makes of its numbers, in any way
        logger.warning("model %r: its first pass with dropout failed", model.card.name, exc_info=True)
        return "a pass with dropout fails; the worker's log says how"
    if model.masks.calls == 0:  # such as attention's, which is no layer that runs
        return "its dropout layers take no part in a forward pass"
    if not torch.allclose(rows, rows[:1].expand_as(rows), rtol=1e-3, atol=1e-5):
        return "its dropout layers see the samples in another dimension than the first"
    return None


def _why_no_gradients(model: LoadedModel, batch: Batch) -> str | None:
    if model.is_program:
        return _PROGRAM
    if (start := floats_of(batch)) is None:
        return "its input is made of tokens, which have no distance"
    point = start.clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            torch.autograd.grad(model.logits(with_floats(batch, point))[:, 0].sum(), point)
    except Exception:  # an operation without a gradient, or one that was switched off
        logger.info("model %r: no gradient with respect to its input", model.card.name, exc_info=True)
        return "no gradient of its scores with respect to its input can be computed"
    return None
