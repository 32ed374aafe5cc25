from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from alaas.config import TransformConfig
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError, SampleCode, SampleError
from alaas_workers.transforms import VisionTransform, transform_class
from alaas_workers.transforms.decode import decode_rgb
from tests.support.images import by_pillow, jpeg, png

MANY = SourcesConfig(max_pixels=10_000_000)
MORE = SourcesConfig(max_pixels=10 * MANY.max_pixels)
IMAGENET = VisionTransform(TransformConfig(resize=256, crop=224))
SMALL = VisionTransform(TransformConfig(resize=40, crop=32))


def _plain(data: bytes, transform: VisionTransform) -> torch.Tensor:
    """torchvision's own steps on a Pillow image, one at a time."""
    settings = transform.settings
    image = Image.fromarray(np.ascontiguousarray(by_pillow(data).transpose(1, 2, 0)))
    image = reference.resize(image, settings.resize, InterpolationMode(settings.interpolation))
    tensor = reference.to_tensor(reference.center_crop(image, settings.crop))
    normalised: torch.Tensor = reference.normalize(tensor, settings.mean, settings.std)
    return normalised


def test_a_small_image_travels_at_its_own_size() -> None:
    data = png(32, 24)
    travelled = IMAGENET.preprocess(data, MANY)
    np.testing.assert_array_equal(travelled, decode_rgb(data, MANY.max_pixels))
    assert travelled.flags.c_contiguous


def test_a_large_image_travels_at_the_size_of_the_input() -> None:
    travelled = IMAGENET.preprocess(jpeg(640, 480), MANY)
    assert travelled.shape == (3, 224, 224) and travelled.flags.c_contiguous


def test_an_image_of_the_inputs_own_size_is_resized_once_and_cropped() -> None:
    data = png(32, 32)
    travelled = SMALL.preprocess(data, MANY)
    assert travelled.shape == (3, 32, 32)
    assert not np.array_equal(travelled, decode_rgb(data, MANY.max_pixels))
    assert torch.equal(SMALL.to_input([travelled]), _plain(data, SMALL)[None])


def test_what_is_small_and_grows_without_bound_is_resized_at_once() -> None:
    strip = png(3, 1200)  # 256 x 102,400 once resized
    assert IMAGENET.preprocess(strip, MORE).shape == (3, 224, 224)


def test_what_would_be_too_large_when_resized_is_refused() -> None:
    with pytest.raises(SampleError) as caught:
        IMAGENET.preprocess(png(2, 5000), MANY)
    assert caught.value.sample_code is SampleCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (41, 40), (640, 480), (33, 90)])
def test_both_routes_give_the_same_bits(size: tuple[int, int], interpolation: Any) -> None:
    transform = VisionTransform(TransformConfig(resize=40, crop=32, interpolation=interpolation))
    data = jpeg(*size)
    native = decode_rgb(data, MANY.max_pixels)
    travelled = transform.preprocess(data, MANY)
    assert travelled.shape == (3, 32, 32)
    assert torch.equal(transform.to_input([travelled]), transform.to_input([native]))


def test_a_row_does_not_depend_on_the_batch_it_is_in() -> None:
    sizes = [(32, 24), (640, 480), (20, 31), (32, 24), (224, 224), (31, 20), (32, 24)]
    arrays = [IMAGENET.preprocess(jpeg(*size, seed=seed), MANY) for seed, size in enumerate(sizes)]
    batch = IMAGENET.to_input(arrays)
    assert batch.shape == (7, 3, 224, 224) and batch.dtype == torch.float32
    for row, array in enumerate(arrays):
        assert torch.equal(batch[row], IMAGENET.to_input([array])[0])


def test_the_memory_layout_does_not_change_a_value() -> None:
    arrays = [IMAGENET.preprocess(jpeg(seed=seed), MANY) for seed in range(3)]
    last = IMAGENET.to_input(arrays, channels_last=True)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, IMAGENET.to_input(arrays, channels_last=False))


def test_small_images_get_the_very_input_of_torchvision_on_pillow() -> None:
    arrays = [IMAGENET.preprocess(jpeg(32, 32, seed), MANY) for seed in range(4)]
    expected = torch.stack([_plain(jpeg(32, 32, seed), IMAGENET) for seed in range(4)])
    assert torch.equal(IMAGENET.to_input(arrays), expected)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (1000, 257)])
def test_large_images_differ_from_torchvision_on_pillow_by_one_level_of_some_pixels(size: tuple[int, int]) -> None:
    data = jpeg(*size)
    ours = IMAGENET.to_input([IMAGENET.preprocess(data, MANY)])[0]
    levels = (ours - _plain(data, IMAGENET)).abs() * torch.tensor(IMAGENET.settings.std).view(3, 1, 1) * 255
    assert levels.max() < 1.01
    assert (levels > 0.5).float().mean() < 0.02


def test_an_image_smaller_than_the_crop_is_padded_with_black_around_it() -> None:
    transform = VisionTransform(TransformConfig(crop=32, mean=(0, 0, 0), std=(1, 1, 1)))
    data = png(17, 32)
    expected = reference.center_crop(torch.from_numpy(decode_rgb(data, MANY.max_pixels)), 32) / 255
    assert torch.equal(transform.to_input([transform.preprocess(data, MANY)])[0], expected)


def test_without_resize_and_crop_pixels_are_only_normalised() -> None:
    transform = VisionTransform(TransformConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)))
    data = png(50, 40)
    expected = reference.normalize(
        torch.from_numpy(decode_rgb(data, MANY.max_pixels)) / 255, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    )
    assert torch.equal(transform.to_input([transform.preprocess(data, MANY)])[0], expected)
    assert transform.input_size is None


def test_without_a_crop_images_of_two_sizes_are_no_batch() -> None:
    transform = VisionTransform(TransformConfig())
    with pytest.raises(ValueError, match="2 sizes"):
        transform.to_input([np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 9), np.uint8)])


def test_resizing_in_float_as_a_gpu_does_stays_within_one_level() -> None:
    batch = torch.from_numpy(np.stack([by_pillow(png(32, 32, seed)) for seed in range(2)]))
    native = torch.nn.functional.interpolate(batch, size=(256, 256), mode="bilinear", antialias=True)
    floats = torch.nn.functional.interpolate(batch.float(), size=(256, 256), mode="bilinear", antialias=True)
    assert (native.float() - floats.round().clamp(0, 255)).abs().max() <= 1


def test_the_id_changes_with_every_parameter() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"resize": 257}, {"crop": 225}, {"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)},
        {"interpolation": "bicubic"},
    ]  # fmt: skip
    ids = {VisionTransform(IMAGENET.settings.model_copy(update=change)).id for change in changes}
    assert len(ids) == len(changes)


def test_the_id_is_the_same_everywhere() -> None:
    assert IMAGENET.id == VisionTransform(TransformConfig(resize=256, crop=224)).id == "009c0f8808d0f0e9"


def test_a_transform_is_found_by_its_modality() -> None:
    assert transform_class("vision") is VisionTransform
    with pytest.raises(ModelError, match="smell"):
        transform_class("smell")


def test_two_numbers_stretch_the_image_to_just_these() -> None:
    transform = VisionTransform(TransformConfig(resize=(24, 40)))
    data = png(50, 70)
    pixels = transform.preprocess(data, MANY)
    assert transform.input_size == pixels.shape[1:] == transform.example().shape[1:] == (24, 40)
    image = Image.fromarray(by_pillow(data).transpose(1, 2, 0)).resize((40, 24), Image.Resampling.BILINEAR)
    assert np.abs(pixels.astype(int) - np.array(image).transpose(2, 0, 1)).max() <= 1


def test_a_small_image_is_stretched_on_the_inference_stage() -> None:
    transform = VisionTransform(TransformConfig(resize=(24, 40), crop=20))
    small, large = (transform.preprocess(png(*size), MANY) for size in ((9, 7), (90, 70)))
    assert (small.shape, large.shape) == ((3, 7, 9), (3, 20, 20))
    assert transform.to_input([small, large]).shape == (2, 3, 20, 20)


def test_a_crop_with_an_odd_margin_begins_where_it_is_told() -> None:
    data, pixels = png(23, 24), by_pillow(png(23, 24))
    for crop_from, left in (("round", 8), ("floor", 7)):  # of 7.5 pixels to its left
        transform = VisionTransform(TransformConfig.model_validate({"crop": 8, "crop_from": crop_from}))
        np.testing.assert_array_equal(transform.preprocess(data, MANY), pixels[:, 8:16, left : left + 8])
