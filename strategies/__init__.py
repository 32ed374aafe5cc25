"""The strategy zoo: arrays in, indices out. It knows nothing of URIs, queues, servers or models."""

from strategies.base import Pool, ScoringStrategy, Selection, Strategy
from strategies.batch import Batch, select_batch
from strategies.errors import StrategyError
from strategies.explanation import Explanation, Neighbour, explain
from strategies.policy import BatchPolicy, get_policy
from strategies.registry import get_strategy, register, register_path, register_paths, strategy_names, strategy_type

__all__ = [
    "Batch",
    "BatchPolicy",
    "Explanation",
    "Neighbour",
    "Pool",
    "ScoringStrategy",
    "Selection",
    "Strategy",
    "StrategyError",
    "explain",
    "get_policy",
    "get_strategy",
    "register",
    "register_path",
    "register_paths",
    "select_batch",
    "strategy_names",
    "strategy_type",
]
