"""Batch policies: rules for a batch as a whole, such as quotas, that go with any strategy (see batch.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from strategies.errors import StrategyError
from strategies.plain import as_json

_LARGEST_COUNT = 1_000_000_000


class BatchPolicy(BaseModel):
    """Rules for the batch; without values, none.

    The random share is drawn first, from all that is not excluded and whatever the other rules say, so that it is an
    unbiased sample of the pool; what it drew counts towards quotas and distances.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_distance: float | None = Field(
        default=None,
        gt=0,
        le=1e30,
        allow_inf_nan=False,
        description="least Euclidean distance of embeddings from a chosen sample to any other chosen or labelled",
    )
    max_per_class: int | None = Field(
        default=None, ge=1, le=_LARGEST_COUNT, description="most chosen samples of one predicted class"
    )
    max_per_source: int | None = Field(
        default=None, ge=1, le=_LARGEST_COUNT, description="most chosen samples of one source"
    )
    random_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the budget drawn uniformly at random, for unbiased evaluation"
    )
    exclude: tuple[str, ...] = Field(default=(), max_length=1_000_000, description="ids that are never chosen")

    @property
    def needs(self) -> frozenset[str]:
        """Features of the pool that the rules look at."""
        rules = {"embeddings": self.min_distance, "probabilities": self.max_per_class}
        return frozenset(name for name, limit in rules.items() if limit is not None)

    @property
    def uses(self) -> frozenset[str]:
        """Features that the rules take into account where the pool holds them."""
        return frozenset() if self.min_distance is None else frozenset({"labelled_embeddings"})


def get_policy(rules: Mapping[str, Any] | None = None) -> BatchPolicy:
    """The policy of plain data, as from YAML or JSON. Raises StrategyError with the rule as its `field`."""
    text = as_json(rules or {}, "policy")
    try:
        return BatchPolicy.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise StrategyError(f"policy: {field}: {first['msg']} (got {first['input']!r:.80})", field=field) from None
