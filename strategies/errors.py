"""The one error of the zoo. It imports nothing, so that callers can map it to their own tree."""

from __future__ import annotations

from collections.abc import Iterable


class StrategyError(ValueError):
    """A strategy cannot be found, configured or run on what it was given.

    `detail`: one sentence for a person, without paths of this machine. `field`: the parameter, feature or argument
    that is wrong. `rows`: every row of that feature that is wrong, by position.
    """

    def __init__(self, detail: str, *, field: str | None = None, rows: Iterable[int] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.rows = tuple(rows)
