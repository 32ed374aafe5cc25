"""The configuration: one typed schema, and how a file, the environment and the command line become one of it."""

from alaas.config.loading import load_config, parse_config
from alaas.config.schema import Config, ModelConfig, TransformConfig

__all__ = ["Config", "ModelConfig", "TransformConfig", "load_config", "parse_config"]
