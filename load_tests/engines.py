"""One model on each engine that runs it in this process, in turn: `python -m load_tests.engines`.

Torch eager, torch with channels last, and ONNX Runtime on the file that torch's exporter makes of the same weights.
Prints images per second on ready batches and the ratios of each round, since machines drift and are shared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from alaas.config import parse_config
from alaas_workers.export.triton import export
from alaas_workers.models import load_model
from alaas_workers.models.loaded import LoadedModel

SIZE = 224


def engines(folder: Path, options: argparse.Namespace) -> dict[str, LoadedModel]:
    """Models by the name of their engine, all of the same weights."""
    of_torch = {"name": options.model, "weights": None, "transform": {"resize": 256, "crop": SIZE}}
    models: dict[str, dict[str, Any]] = {
        "torch eager": of_torch | {"channels_last": False},
        "torch channels_last": of_torch | {"channels_last": True},
    }
    each = {"batch_size": options.batch_size, "device": "cpu"}
    config = parse_config({"models": {name: model | each for name, model in models.items()}})
    written = export("torch eager", config, folder, "onnx")
    file = written.folder / "1" / "model.onnx"
    runtime = {"source": "onnx", "path": str(file), "outputs": {"probabilities": "probabilities"}}
    models["onnxruntime"] = runtime | {"transform": of_torch["transform"]}
    config = parse_config({"models": {name: model | each for name, model in models.items()}})
    return {name: load_model(name, config) for name in models}


def images_per_s(model: LoadedModel, batch_size: int, seconds: float) -> float:
    layout = torch.channels_last if model.channels_last else torch.contiguous_format
    batch = torch.randn(batch_size, 3, SIZE, SIZE).contiguous(memory_format=layout)
    model.outputs(batch)
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        model.outputs(batch)
        images += batch_size
    return images / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18", help="a builder of torchvision")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = engines(Path(folder), options)
        rounds = []
        for number in range(options.rounds):
            rounds.append(
                {name: images_per_s(each, options.batch_size, options.seconds) for name, each in models.items()}
            )
            print("round", number, {name: round(rate, 1) for name, rate in rounds[-1].items()}, flush=True)
    for name in models:
        ratios = [one[name] / one["torch eager"] for one in rounds]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:<20} {statistics.median(ratios):5.2f} x torch eager  ({spread})")


if __name__ == "__main__":
    main()
