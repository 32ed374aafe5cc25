"""The strategies that the operator names by path: imported at the start of every process that asks the registry."""

from __future__ import annotations

from alaas.config import Config
from alaas.errors import ConfigError
from strategies import StrategyError, register_paths


def register_own(config: Config) -> None:
    """Make `strategies.paths` known in this process. Raises ConfigError naming the path."""
    try:
        register_paths(config.strategies.paths)
    except StrategyError as error:
        raise ConfigError(error.detail, field=f"strategies.paths.{error.field}") from None
