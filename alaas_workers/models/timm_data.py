"""What timm says of a model's input, as our transform: the same geometry as its own evaluation transform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import ValidationError

from alaas.config import TransformConfig

_CROP_PCT = 0.875  # timm's, where a model does not say
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


class UnlikeOurs(ValueError):
    """A transform that ours cannot do; the message says what of it."""


def as_transform(data: Mapping[str, Any]) -> TransformConfig:
    """`data`: timm's pretrained_cfg, perhaps from a JSON file. Raises UnlikeOurs."""
    channels, height, width = _numbers(data.get("input_size", (3, 224, 224)), "input_size")
    mean, std = _numbers(data.get("mean"), "mean"), _numbers(data.get("std"), "std")
    if not all(map(math.isfinite, (*mean, *std))) or min(std, default=1) <= 0:
        raise UnlikeOurs(f"its mean is {mean!r:.40} and its std {std!r:.40}")
    if channels != 3 or len(mean) != 3 or len(std) != 3:
        raise UnlikeOurs(f"it takes images of {channels:g} channels, and ours have 3")
    resize, crop = _geometry(int(height), int(width), data)
    try:
        return TransformConfig(
            resize=resize,
            crop=crop,
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            interpolation=_interpolation(data.get("interpolation", "bilinear")),
        )
    except ValidationError:
        raise UnlikeOurs(f"it resizes to {resize!r:.40} and crops {crop!r:.40} pixels") from None


def _geometry(height: int, width: int, data: Mapping[str, Any]) -> tuple[int | tuple[int, int], int | None]:
    """(resize, crop)."""
    share = data.get("crop_pct") or _CROP_PCT
    mode = data.get("crop_mode") or "center"
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise UnlikeOurs(f"its crop_pct is {share!r:.40}, not a share above 0 and up to 1")
    larger = math.floor(height / share), math.floor(width / share)
    if mode == "squash" and larger == (height, width):
        return larger, None
    if height != width:
        raise UnlikeOurs(f"it crops {height} x {width}, and ours crops squares")
    if mode == "center":
        return larger[0], height
    if mode == "squash":
        return larger, height
    raise UnlikeOurs(f"its crop_mode is {mode!r:.40}")


def _interpolation(name: Any) -> Literal["bilinear", "bicubic", "nearest"]:
    if name not in _INTERPOLATIONS:
        raise UnlikeOurs(f"its interpolation is {name!r:.40}; ours are {', '.join(_INTERPOLATIONS)}")
    return cast('Literal["bilinear", "bicubic", "nearest"]', name)


def _numbers(values: Any, what: str) -> list[float]:
    if not isinstance(values, list | tuple) or not all(isinstance(each, int | float) for each in values):
        raise UnlikeOurs(f"its {what} is {values!r:.60}")
    if what == "input_size" and len(values) != 3:
        raise UnlikeOurs(f"its {what} is {values!r:.60}")
    return [float(each) for each in values]
