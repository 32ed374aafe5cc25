"""The builder of a state dict's module, as configured: "package.module:callable" or "folder/file.py:callable"."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from alaas_workers.models.built import BuildContext, as_path

logger = logging.getLogger(__name__)


def find_callable(builder: str, context: BuildContext) -> tuple[Callable[..., Any], str]:
    """The callable, and the digest of its file ("" for an installed module). Raises ModelError naming what is wrong."""
    where, _, attribute = builder.rpartition(":")
    if not where or not attribute:
        raise context.error("builder", f"{builder!r:.120} is not of the form 'package.module:callable'")
    module, digest = _from_file(as_path(where), context) if where.endswith(".py") else (_installed(where, context), "")
    found = getattr(module, attribute, None)
    if not callable(found):
        raise context.error("builder", f"its module has no callable {attribute!r:.80}")
    return found, digest


def _installed(module: str, context: BuildContext) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:
        logger.warning("model %r: its builder's module cannot be imported", context.name, exc_info=True)
        raise context.error(
            "builder",
            f"importing {module!r:.80} failed with {type(error).__name__}; install it, put its folder on PYTHONPATH,"
            " or name a file ('folder/file.py:callable')",
        ) from None


def _from_file(path: Path, context: BuildContext) -> tuple[ModuleType, str]:
    spec = spec_from_file_location(f"alaas_builder_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise context.error("builder", f"there is no file {path.name}")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        logger.warning("model %r: its builder's file cannot be run", context.name, exc_info=True)
        raise context.error("builder", f"{path.name} failed with {type(error).__name__}; see the log") from None
    return module, sha256(path.read_bytes()).hexdigest()
