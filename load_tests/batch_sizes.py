"""The paper's Figure 7: a fleet's throughput by inference batch size, over FTP and S3, beside the model alone.

`python -m load_tests.sources` runs it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import redis

from alaas import Client, Server
from alaas.config import load_config
from load_tests.cifar import unpack
from load_tests.places import places
from load_tests.scan import forward_rate, model_settings
from load_tests.scan import write_config as write_model
from tests.support.fleets import write_config

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
Rates = dict[tuple[str, int], float]
"""Images a second by "ftp", "s3" or "model" (alone, on ready batches) and batch size."""


def measure(options: argparse.Namespace, folder: Path) -> Rates:
    """The median of some rounds."""
    names = [path.name for path in unpack(folder / "pool", options.figure_images)]
    seen: dict[tuple[str, int], list[float]] = defaultdict(list)
    with places(folder / "pool", 0.0) as found:
        models = {f"batch-{size}": model_settings(size, options) | {"name": "resnet18"} for size in BATCH_SIZES}
        config = write_config(folder / "fleet", models=models, sources=found["s3"].settings | found["ftp"].settings)
        with Server(config, port=0) as server, server.client(progress=False) as client:
            forget = forgetting(folder / "fleet")
            for size in BATCH_SIZES:  # each model is loaded before it is measured
                client.query_by_uri([found["ftp"].base + names[0]], budget=1, model=f"batch-{size}")
            for number in range(options.rounds):
                for size in BATCH_SIZES:
                    for source in ("ftp", "s3"):
                        forget()  # the models are one network, and would share what they computed
                        uris = [found[source].base + name for name in names]
                        seen[source, size].append(rate(client, uris, size))
                    options.batch_size = size
                    seen["model", size].append(forward_rate(write_model(folder, options), options))
                    shown = {name: round(rates[-1], 1) for (name, of), rates in seen.items() if of == size}
                    print("round", number, "batch", size, shown, flush=True)
    return {key: statistics.median(rates) for key, rates in seen.items()}


def forgetting(folder: Path) -> Callable[[], object]:
    """What empties the cache of the fleet whose configuration lies in `folder`."""
    url = load_config(folder / "data" / "run" / "effective.yml").cache.url
    assert url is not None
    return redis.Redis.from_url(url.get_secret_value()).flushall


def rate(client: Client, uris: list[str], batch_size: int) -> float:
    """From the submission of a query to its report, nothing of the pool seen before."""
    started = time.perf_counter()
    budget = len(uris) // 10
    selected = client.query_by_uri(uris, budget, strategy="LeastConfidence", model=f"batch-{batch_size}")
    assert len(selected) == budget and not selected.failed
    return len(uris) / (time.perf_counter() - started)


def table(rates: Rates) -> str:
    titles = {"ftp": "fleet over FTP, images/s", "s3": "fleet over S3, images/s", "model": "the model alone, images/s"}
    lines = ["| batch size | " + " | ".join(map(str, BATCH_SIZES)) + " |", "|---|" + "---|" * len(BATCH_SIZES)]
    for source, title in titles.items():
        lines.append(f"| {title} | " + " | ".join(f"{rates[source, size]:.1f}" for size in BATCH_SIZES) + " |")
    return "\n".join(lines)


def plot(rates: Rates, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "alaas"  # the same file for the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for axis, source, title in zip(axes, ("ftp", "s3"), ("images on FTP", "images on S3"), strict=True):
        axis.bar(range(len(BATCH_SIZES)), [rates[source, size] for size in BATCH_SIZES], color="tab:blue", width=0.6)
        axis.plot(range(len(BATCH_SIZES)), [rates["model", size] for size in BATCH_SIZES], color="0.4", marker="o")
        axis.set_xticks(range(len(BATCH_SIZES)), map(str, BATCH_SIZES))
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("inference batch size")
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("images/s; grey: the model alone")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
