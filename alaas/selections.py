"""What both sides of the wire say about a selection from somebody's own scores (POST /v1/select)."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, StrictInt

from alaas.errors import InvalidRequest, TooLarge
from alaas.jobs import Name, StrategyRequest, Strict

REFUSED = 3
"""The exit code of a selecting process whose answer is a problem."""


class SelectRequest(Strict):
    """POST /v1/select, the form's part `request`. The part `file` holds the scores."""

    strategy: Name | StrategyRequest | None = Field(default=None, description="default: the configuration's")
    budget: Annotated[StrictInt, Field(ge=1, lt=2**63)] = Field(description="how many samples to choose")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0


class Pick(Strict):
    """One sample of a selection; `score` is higher for what should be labelled first."""

    rank: int
    id: str
    score: float
    parts: dict[str, float] = Field(default_factory=dict, description="what the score is made of, where it has parts")


class SelectAnswer(Strict):
    """What was chosen. A pure function of file and request."""

    strategy: dict[str, Any] = Field(description="with every parameter")
    budget: int
    seed: int
    pool: int = Field(description="samples that the file held")
    warnings: list[str]
    selected: list[Pick] = Field(description="in rank order")

    @property
    def ids(self) -> list[str]:
        """Of the chosen samples, first to label first."""
        return [pick.id for pick in self.selected]

    @property
    def scores(self) -> list[float]:
        return [pick.score for pick in self.selected]


class SelectTask(Strict):
    """What a selecting process is told on its standard input: descriptors, limits, and what to choose.

    `max_memory_bytes` and `max_rows` None: whatever this machine bears.
    """

    request: SelectRequest
    file: int
    answer: int
    max_rows: int
    max_bytes: int
    max_memory_bytes: int | None = None


def refusal(detail: str, field: str | None, *, is_too_large: bool) -> bytes:
    """What the child writes for its parent to raise."""
    kind = TooLarge if is_too_large else InvalidRequest
    return json.dumps({"status": kind.status, "code": kind.code, "detail": detail, "field": field}).encode()
