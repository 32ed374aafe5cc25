"""preprocessor_config.json of a HuggingFace image model, as our transform. Imports nothing heavy.

What it cannot say is refused here by name; that the rest comes to the same pixels is tried when the model is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from alaas.config import TransformConfig
from alaas_workers.models.timm_data import UnlikeOurs

_KNOWN_STEPS = frozenset(
    {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_reduce_labels"}
)
_MORE_STEPS = ("include_top", "rescale_offset", "crop_to_patches")
_RESAMPLE: dict[int, Literal["nearest", "bilinear", "bicubic"]] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_BY_SHORTER_SIDE = ("CLIP", "Bit", "ConvNext", "PoolFormer", "Levit", "MobileNetV1", "MobileNetV2")
"""Older files tell the size as one number, which these read as the shorter side, and all others as a square."""

_STRETCHED_FROM = 384  # ConvNext: from this size on nothing is cropped
Resize = int | tuple[int, int]


def as_transform(said: Mapping[str, Any]) -> TransformConfig:
    """Raises UnlikeOurs for what our transform does not do, and for what the file does not say."""
    _check_steps(said)
    resize, crop = _geometry(said)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said.get("do_normalize", True):
        mean, std = _three(said, "image_mean"), _three(said, "image_std")
    resample = said.get("resample", 2)
    if not isinstance(resample, int) or resample not in _RESAMPLE:
        raise UnlikeOurs(f"its resample is {resample!r:.40}; nearest (0), bilinear (2) and bicubic (3) are done here")
    try:
        return TransformConfig(
            resize=resize, crop=crop, mean=mean, std=std, interpolation=_RESAMPLE[resample], crop_from="floor"
        )
    except ValidationError:
        raise UnlikeOurs(f"it resizes to {resize!r:.40} pixels") from None


def _check_steps(said: Mapping[str, Any]) -> None:
    steps = [key for key in said if key.startswith("do_") and key not in _KNOWN_STEPS]
    for key in (*sorted(steps), *_MORE_STEPS):
        if said.get(key):
            raise UnlikeOurs(f"it asks for {key:.40}")
    factor = said.get("rescale_factor", 1 / 255)
    if not said.get("do_rescale", True) or not isinstance(factor, float) or not math.isclose(factor, 1 / 255):
        raise UnlikeOurs("its values are not from 0 to 1 before they are normalised")


def _geometry(said: Mapping[str, Any]) -> tuple[Resize | None, int | None]:
    """(resize, crop)."""
    resize = _resize(said) if said.get("do_resize", True) else None
    if isinstance(resize, int) and "crop_pct" in said and not said.get("do_center_crop"):  # ConvNext
        if resize >= _STRETCHED_FROM:
            return (resize, resize), None
        return int(resize / _share(said)), resize
    if isinstance(resize, int) and "crop_pct" in said:  # PoolFormer
        resize = int(resize / _share(said))
    if isinstance(resize, int) and _kind(said).startswith("Levit"):
        resize = int(256 / 224 * resize)
    return resize, _crop(said) if said.get("do_center_crop") else None


def _resize(said: Mapping[str, Any]) -> Resize:
    size = said.get("size")
    if isinstance(size, int):
        size = {"shortest_edge": size} if _kind(said).startswith(_BY_SHORTER_SIDE) else {"height": size, "width": size}
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        return _pixels(size["shortest_edge"], "size")
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        return _pixels(size["height"], "size"), _pixels(size["width"], "size")
    raise UnlikeOurs(f"its size is {size!r:.80}; a shortest_edge, or height and width, are done here")


def _crop(said: Mapping[str, Any]) -> int:
    size = said.get("crop_size")
    if isinstance(size, int):
        return _pixels(size, "crop_size")
    if isinstance(size, dict) and set(size) == {"height", "width"} and size["height"] == size["width"]:
        return _pixels(size["height"], "crop_size")
    raise UnlikeOurs(f"its crop_size is {size!r:.80}; squares are cropped here")


def _pixels(value: Any, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
        raise UnlikeOurs(f"its {key} holds {value!r:.40}, not 1 to 4096 pixels")
    return value


def _share(said: Mapping[str, Any]) -> float:
    share = said["crop_pct"]
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise UnlikeOurs(f"its crop_pct is {share!r:.40}, not a share above 0 and up to 1")
    return share


def _three(said: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    values = said.get(key)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(each, int | float) for each in values):
        raise UnlikeOurs(f"it does not give {key} as three numbers")
    red, green, blue = map(float, values)
    if not all(map(math.isfinite, values)) or (key == "image_std" and min(values) <= 0):
        raise UnlikeOurs(f"its {key} is {values!r:.60}")
    return red, green, blue


def _kind(said: Mapping[str, Any]) -> str:
    return str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
