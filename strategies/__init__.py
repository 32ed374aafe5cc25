"""The strategy zoo: arrays in, indices out. It knows nothing of URIs, queues, servers or models."""

from strategies.base import Pool, ScoringStrategy, Selection, Strategy
from strategies.errors import StrategyError
from strategies.registry import get_strategy, register, register_path, strategy_names, strategy_type

__all__ = [
    "Pool",
    "ScoringStrategy",
    "Selection",
    "Strategy",
    "StrategyError",
    "get_strategy",
    "register",
    "register_path",
    "strategy_names",
    "strategy_type",
]
