"""Which outputs of an ONNX model are the scores and the embedding: as the configuration says, else as they look."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from alaas_workers.models.built import BuildContext

logger = logging.getLogger(__name__)
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


@dataclass(frozen=True)
class Outputs:
    """Names; one of the two at least. `are_logits`: None where `logits` of the model's settings tells."""

    scores: str | None
    embedding: str | None
    are_logits: bool | None

    @property
    def given(self) -> list[str]:
        return [name for name in (self.scores, self.embedding) if name is not None]


def choose(session: Any, context: BuildContext) -> Outputs:
    """By name; else the first output of rows of numbers is the scores, the next the embedding. Raises ModelError."""
    asked = context.settings.outputs
    given = [output.name for output in session.get_outputs() if output.type in _FLOATS]
    rows = [output.name for output in session.get_outputs() if output.type in _FLOATS and _is_rows(output.shape)]
    key = "probabilities" if asked.probabilities is not None else "logits"
    named = asked.probabilities or asked.logits
    scores = _named(named, key, given, context) if named else _first(rows, asked.embeddings, context)
    embedding = _embedding(rows, scores, given, context)
    logger.info("model %r: scores are the output %r, embeddings %r", context.name, scores, embedding)
    return Outputs(scores, embedding, None if named is None else asked.logits is not None)


def _is_rows(shape: Any) -> bool:
    """Two dimensions, or of a shape that the file does not tell."""
    return not shape or len(shape) == 2


def _first(rows: list[str], embedding: str | None, context: BuildContext) -> str | None:
    """None for a model that embeds and no more."""
    found = [name for name in rows if name != embedding]
    if not found:
        if embedding is not None:
            return None
        raise context.error("outputs", "none of its outputs has a row of numbers for each sample")
    return found[0]


def _embedding(rows: list[str], scores: str | None, given: list[str], context: BuildContext) -> str | None:
    asked = context.settings.outputs.embeddings
    if asked is not None:
        return _named(asked, "embeddings", given, context)
    others = [name for name in rows if name != scores]
    return others[0] if others else None


def _named(name: str, key: str, given: list[str], context: BuildContext) -> str:
    if name not in given:
        near = get_close_matches(name, given, n=1, cutoff=0.0)
        hint = f"; nearest known: {near[0]!r:.80}" if near else ""
        raise context.error(f"outputs.{key}", f"it has no output {name!r:.80} of numbers{hint}")
    return name
