"""Engine to "module:Class", imported at first use: a null model needs no torch, and torch no client of Triton's."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import cast

from alaas.config import Config, ModelConfig
from alaas.errors import AlaasError, ModelError
from alaas_workers.backends.protocol import Backend
from alaas_workers.models import settings_of

logger = logging.getLogger(__name__)

ENGINES = {
    "torch": "alaas_workers.backends.torch_backend:TorchBackend",
    "onnx": "alaas_workers.backends.onnx_backend:OnnxBackend",
    "triton": "alaas_workers.backends.triton_backend:TritonBackend",
    "null": "alaas_workers.backends.null_backend:NullBackend",
}
"""A class here is made with (name, config) and raises ModelError for a model that it cannot serve."""


def engine_of(settings: ModelConfig) -> str:
    if settings.is_on_triton:
        return "triton"
    return settings.source if settings.source in ENGINES else "torch"


def open_backend(name: str, config: Config) -> Backend:
    """Load the model called `name` and warm it up; takes seconds. Raises ModelError naming the setting to mend."""
    module, _, class_name = ENGINES[engine_of(settings_of(name, config))].partition(":")
    try:
        return cast(Backend, getattr(import_module(module), class_name)(name, config))
    except AlaasError:
        raise
    except Exception as error:  # a device without room for it, or a file over which a library stumbles in its own way
        logger.warning("model %r: it cannot be loaded", name, exc_info=True)
        raise ModelError(
            f"model {name!r}: it cannot be loaded here ({type(error).__name__}); the worker's log says why",
            field=f"models.{name}",
        ) from None
