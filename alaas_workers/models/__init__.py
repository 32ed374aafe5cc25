"""The models of the configuration: where each comes from, its transform, and its identity over the weights.

Importing this loads no torch; `transform_for` loads torchvision only where the weights tell the transform.
"""

from __future__ import annotations

from alaas_workers.models.registry import SOURCES, configured_card, load_model, settings_of, transform_for

__all__ = ["SOURCES", "configured_card", "load_model", "settings_of", "transform_for"]
