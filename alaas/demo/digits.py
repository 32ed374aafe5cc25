"""The demo's data and model: scikit-learn's handwritten digits as PNG files, and a small network that learns them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

IMAGE_MEAN, IMAGE_STD = 0.305, 0.376  # of the digits' pixels in [0, 1]
SIDE_PX = 8
CLASSES = 10


class Digits(NamedTuple):
    """`paths` (N) of PNG files, their `pixels` (N, 8, 8) uint8 and `labels` (N,)."""

    paths: list[Path]
    pixels: Any
    labels: Any


def write_digits(folder: Path) -> Digits:
    """Write the 1,797 digits as 8x8 greyscale PNG files into `folder`."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"digit-{number:04d}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return Digits(paths, pixels, data.target)


def build(hidden: int = 64) -> Any:
    """A small convolutional network for 3x8x8 input, 10 classes; its last layer's input has `hidden` values.

    The server builds it by this name: `builder: alaas.demo.digits:build`.
    """
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES),
    )  # fmt: skip


def _as_input(pixels: Any) -> Any:
    import torch

    grey = (torch.as_tensor(pixels, dtype=torch.float32) / 255 - IMAGE_MEAN) / IMAGE_STD
    return grey[:, None].expand(-1, 3, -1, -1).contiguous()


def train(pixels: Any, labels: Any, seed: int, epochs: int = 60) -> Any:
    """Train from the start on (N, 8, 8) uint8 images. A second or two on one core."""
    import torch
    from torch import nn

    # Batches so small run fastest on one thread; more would only wait for each other.
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
        inputs, targets = _as_input(pixels), torch.as_tensor(labels)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(inputs)), 32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model.eval()


def accuracy(model: Any, pixels: Any, labels: Any) -> float:
    import torch

    with torch.inference_mode():
        return float((model(_as_input(pixels)).argmax(1) == torch.as_tensor(labels)).float().mean())


def save_weights(model: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(model.state_dict(), str(path))


def model_config(weights: Path) -> dict[str, Any]:
    """The `models` entry that serves these weights."""
    return {
        "source": "file",
        "path": str(weights),
        "builder": "alaas.demo.digits:build",
        "transform": {"resize": SIDE_PX, "crop": SIDE_PX, "mean": [IMAGE_MEAN] * 3, "std": [IMAGE_STD] * 3},
        "batch_size": 64,
    }


def contact_sheet(paths: Sequence[str], scores: Sequence[float], picture: Path, columns: int = 10) -> None:
    """Save the images in rank order, each with its score below."""
    from PIL import Image, ImageDraw

    cell, text = 64, 14
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * (cell + 6) + 6, rows * (cell + text + 6) + 6), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (path, score) in enumerate(zip(paths, scores, strict=True)):
        left, top = 6 + place % columns * (cell + 6), 6 + place // columns * (cell + text + 6)
        with Image.open(path) as image:
            sheet.paste(image.convert("RGB").resize((cell, cell), Image.Resampling.NEAREST), (left, top))
        draw.text((left + 2, top + cell + 1), f"{score:.3f}", fill="black")
    sheet.save(picture)
