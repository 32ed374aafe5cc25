"""The configuration: one typed schema, and how a file, the environment and the command line become one of it."""

from alaas.config.loading import load_config, parse_config
from alaas.config.models import AudioConfig, ModelConfig, TextConfig, TransformConfig
from alaas.config.schema import Config

__all__ = ["AudioConfig", "Config", "ModelConfig", "TextConfig", "TransformConfig", "load_config", "parse_config"]
