"""What a model's scores are of decides which features it gives. Imports no torch."""

from __future__ import annotations

from alaas.config import TransformConfig
from alaas.jobs import OF_PASSES, SCORES, Feature, ScoresOf

AS_IT_IS = TransformConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""Pixels from 0 to 1 at the image's own size: the rest is the detector's."""

_INSTEAD: dict[ScoresOf, str] = {
    "classes": "its scores are of classes, which exclude one another",
    "labels": "its scores are of labels, which do not exclude one another",
    "boxes": "its scores are of the boxes that it finds in an image",
}

FITTING: dict[ScoresOf, str] = {
    "classes": "another model or strategy",
    "labels": "MultiLabelUncertainty, or a strategy that needs embeddings alone",
    "boxes": "DetectionUncertainty, or a strategy that needs embeddings alone",
}
"""What to take where a strategy needs what a model does not give."""


def not_given(scores_of: ScoresOf) -> dict[Feature, str]:
    """Features that no model with such scores gives, each with the reason as a clause."""
    of_classes = () if scores_of == "classes" else (*sorted(OF_PASSES), Feature.BOUNDARY_DISTANCES)
    others = [each for each in SCORES.values() if each != SCORES[scores_of]]
    return dict.fromkeys([*others, *of_classes], _INSTEAD[scores_of])


def scores_of_card(outputs: list[Feature] | None) -> ScoresOf:
    """What the scores of a model are of that gives these features; classes where it is not known."""
    return next((kind for kind, feature in SCORES.items() if feature in (outputs or ())), "classes")
