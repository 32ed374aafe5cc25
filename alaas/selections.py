"""What both sides of the wire say about a selection from somebody's own scores (POST /v1/select)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt

from alaas.errors import InvalidRequest, TooLarge
from alaas.jobs import Name, Policy, StrategyRequest, Strict

REFUSED = 3
"""The exit code of a selecting process whose answer is a problem."""


class SelectRequest(Strict):
    """POST /v1/select, the form's part `request`. The part `file` holds the scores."""

    strategy: Name | StrategyRequest | None = Field(default=None, description="default: the configuration's")
    budget: Annotated[StrictInt, Field(ge=1, lt=2**63)] = Field(description="how many samples to choose")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    policy: Policy | None = Field(default=None, description="rules for the batch as a whole; default: none")


class Near(Strict):
    """What a chosen sample is nearest to, by the Euclidean distance of embeddings."""

    kind: Literal["labelled", "chosen"] = Field(description="chosen: before it, by rank or at random")
    id: str = Field(description="of the chosen sample; of a labelled one the row in labelled_embeddings, from 0")
    distance: float


class Pick(Strict):
    """One sample of a selection; `score` is higher for what should be labelled first. The rest is as in a report."""

    rank: int
    id: str
    score: float
    drawn: Literal["strategy", "random", "filled"] = "strategy"
    parts: dict[str, float] | None = Field(default=None, description="what the score is made of")
    nearest: Near | None = None
    stands_for: int | None = Field(default=None, description="samples of the pool whose nearest chosen one this is")


class SelectAnswer(Strict):
    """What was chosen. A pure function of file and request."""

    strategy: dict[str, Any] = Field(description="with every parameter")
    policy: dict[str, Any] = Field(description="with every rule")
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
    """What a selecting process is told on its standard input: what to choose, descriptors and limits.

    `paths`: of the operator's own strategies. `max_memory_bytes` None: whatever this machine bears.
    """

    request: SelectRequest
    file: int
    answer: int
    paths: list[str] = Field(default_factory=list)
    max_rows: int
    max_bytes: int
    max_memory_bytes: int | None = None


def refusal(detail: str, field: str | None, *, is_too_large: bool) -> bytes:
    """What the child writes for its parent to raise."""
    kind = TooLarge if is_too_large else InvalidRequest
    return json.dumps({"status": kind.status, "code": kind.code, "detail": detail, "field": field}).encode()
