"""Caps of strategies whose cost grows faster than the pool: a clear error instead of hours or no memory left."""

from __future__ import annotations

from strategies.errors import StrategyError


def refuse_above_cap(strategy: str, count: int, cap: int, parameter: str) -> None:
    """Raises StrategyError naming `parameter` where `count` samples are more than its value `cap`."""
    if count > cap:
        kind = "labelled samples" if "labelled" in parameter else "samples"
        raise StrategyError(
            f"{strategy} takes at most {cap} {kind} ({parameter}), not {count}: its cost grows faster than they do. "
            f"Give it a part of them, such as what KCenterSampling chose, raise {parameter} if you can wait, "
            "or take another strategy",
            field=parameter,
        )
