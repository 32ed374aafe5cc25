"""Stands for a strategy of an operator's own that has a bug."""

from __future__ import annotations

from typing import ClassVar

from strategies import Pool, ScoringStrategy
from strategies.base import Scores


class Failing(ScoringStrategy):
    summary: ClassVar[str] = "fails"

    def scores(self, pool: Pool) -> Scores:
        raise ZeroDivisionError(f"of {len(pool)}")
