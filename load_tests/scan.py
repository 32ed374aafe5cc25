"""The scan of a pool end to end, beside the model alone and beside a plain script: `python -m load_tests.scan`.

Prints ratios from one run on one machine: how much of the model's pure forward rate the fleet reaches, what a delay of
20 ms per object costs it, and how it stands beside a sequential script (fetch, decode, infer, select). The three are
measured in turn, several rounds, since machines drift; the median round counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from alaas import Client, Server
from load_tests.cifar import unpack
from load_tests.image_server import image_server

BUDGET = 100


def model_settings(batch_size: int, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "source": "torchvision",
        "name": "resnet18",
        "weights": None,
        "transform": {"resize": 256, "crop": 224},
        "batch_size": batch_size,
        "precision": options.precision,
        "compile": options.compile,
        "channels_last": True,
        "instance_group": [{"kind": "KIND_CPU", "count": options.instances}],
    }


def write_config(folder: Path, options: argparse.Namespace) -> Path:
    config = {
        "models": {"resnet18": model_settings(options.batch_size, options)},
        "pipeline": {"chunk_size": options.chunk_size},
        "storage": {"data_dir": str(folder / "data")},
    }
    path = folder / "scan.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def forward_rate(config: Path, options: argparse.Namespace) -> float:
    """Images per second of the model alone, on ready batches, on all cores and in as many copies as the fleet has."""
    import torch

    from alaas.config import load_config
    from alaas_workers.models import load_model

    model: Any = load_model("resnet18", load_config(config), torch.device("cpu")).module
    model = model.to(memory_format=torch.channels_last)
    if options.compile:
        model = torch.compile(model)
    reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    threads = max(1, torch.get_num_threads() // options.instances)
    all_warm = threading.Barrier(options.instances)

    def images_per_s(copy: Any) -> float:
        torch.set_num_threads(threads)
        batch = torch.rand(options.batch_size, 3, 224, 224).to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", dtype=reduced, enabled=reduced is not None):
            for _ in range(3):
                copy(batch)
            all_warm.wait(timeout=120)
            started, seen = time.perf_counter(), 0
            while time.perf_counter() - started < options.forward_s:
                copy(batch)
                seen += len(batch)
            return seen / (time.perf_counter() - started)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(options.instances) as pool:
            return sum(pool.map(images_per_s, [model, *(deepcopy(model) for _ in range(options.instances - 1))]))
    finally:
        torch.set_num_threads(before)  # the script that is measured next has all cores


def fleet_rate(client: Client, uris: list[str]) -> float:
    """Images per second from the submission of a query to its report, nothing of the pool seen before."""
    started = time.perf_counter()
    selected = client.query_by_uri(uris, budget=BUDGET, strategy="LeastConfidence")
    assert len(selected) == BUDGET and not selected.failed
    return len(uris) / (time.perf_counter() - started)


def sequential_rate(uris: list[str], batch_size: int) -> float:
    """A plain script: fetch, decode and transform one after the other, infer in batches, select."""
    import torch
    from torchvision import models
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    transform = v2.Compose(
        [v2.Resize(256), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True),
         v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )  # fmt: skip
    started = time.perf_counter()
    scores = []
    with torch.inference_mode():
        for first in range(0, len(uris), batch_size):
            images = []
            for uri in uris[first : first + batch_size]:
                with urllib.request.urlopen(uri, timeout=30) as answer:
                    data = torch.frombuffer(bytearray(answer.read()), dtype=torch.uint8)
                images.append(transform(decode_image(data, ImageReadMode.RGB)))
            scores.append(1 - torch.softmax(model(torch.stack(images)), 1).max(1).values)
    torch.cat(scores).argsort(descending=True)[:BUDGET]
    return len(uris) / (time.perf_counter() - started)


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    images = folder / "images"
    names = [path.name for path in unpack(images, options.images)]
    config = write_config(folder, options)
    rounds = []
    with (
        image_server(images) as plain,
        image_server(images, options.delay_ms) as slow,
        Server(config, port=0) as server,
        server.client(progress=False) as client,
    ):
        client.query_by_uri([f"{plain}/{name}?warm" for name in names[:64]], budget=1)
        for number in range(options.rounds):
            # A query string makes each round's URIs new to the cache.
            rounds.append({
                "forward": forward_rate(config, options),
                "fleet": fleet_rate(client, [f"{plain}/{name}?{number}" for name in names]),
                "fleet_delayed": fleet_rate(client, [f"{slow}/{name}?{number}" for name in names]),
                "forward_after": forward_rate(config, options),
                "script_delayed": sequential_rate([f"{slow}/{name}" for name in names[:256]], 16),
            })  # fmt: skip
            print("round", number, {name: round(rate, 1) for name, rate in rounds[-1].items()}, flush=True)
    return rounds


def report(rounds: list[dict[str, float]], options: argparse.Namespace) -> None:
    def ratio(over: str, under: str) -> float:
        return statistics.median(one[over] / one[under] for one in rounds)

    for one in rounds:
        one["forward_mean"] = (one["forward"] + one["forward_after"]) / 2
    what = f"{options.images} CIFAR-10 JPEGs over HTTP, ResNet-18 at 224, {options.precision}"
    delayed = f"{options.delay_ms:g} ms an object"
    print(f"\n{what}, median of {len(rounds)} rounds")
    print(f"fleet / model alone                       {ratio('fleet', 'forward_mean'):6.1%}  (aim: at least 85 %)")
    print(f"fleet with {delayed} / without   {ratio('fleet_delayed', 'fleet'):6.1%}  (aim: above 95 %)")
    print(f"fleet / script, both with {delayed}  {ratio('fleet_delayed', 'script_delayed'):5.2f}x  (aim: at least 3)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--chunk-size", type=int, default=128)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forward-s", type=float, default=5.0, help="seconds of each measure of the model alone")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--instances", type=int, default=2, help="copies of the model, which share the cores")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(measure(options, Path(folder)), options)


if __name__ == "__main__":
    main()
