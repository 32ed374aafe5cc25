"""A query on a pool that is scanned already: `python -m load_tests.second_query`.

Pushes the CIFAR-10 train JPEGs (40,000 by default) with the null model, then asks again with other strategies, budgets
and seeds. Nothing may be fetched or inferred, and each answer should take under two seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import httpx
import yaml

from alaas import Server
from load_tests.cifar import unpack

QUERIES = [("MarginConfidence", 1000, 0), ("EntropySampling", 10_000, 0), ("RandomSampling", 1000, 7),
           ("LeastConfidence", 10_000, 3), ("KCenterSampling", 100, 0)]  # fmt: skip


def fetched(url: str) -> float:
    """Samples that any scan stage has worked on so far, as /metrics tells."""
    text = httpx.get(f"{url}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("alaas_stage_samples_total")]
    assert lines, "the metric's name changed"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'stage="selection"' not in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [str(path) for path in unpack(folder / "images", options.images, "train")]
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump({
            "models": {"null": {"source": "null"}},
            "sources": {"file": {"roots": [str(folder)]}},
            "storage": {"data_dir": str(folder / "data")},
        }))  # fmt: skip
        with Server(config, port=0) as server, server.client(progress=False) as client:
            started = time.perf_counter()
            client.push_data(paths, asynchronous=False)
            print(f"pushed and scanned {len(paths)} samples in {time.perf_counter() - started:.1f} s")
            before = fetched(server.url)
            for strategy, budget, seed in QUERIES:
                started = time.perf_counter()
                selected = client.query(budget=budget, strategy=strategy, seed=seed)
                took_s = time.perf_counter() - started
                print(f"{strategy:20} budget {budget:6}: {len(selected):6} in {took_s:5.2f} s (aim: below 2)")
            print(f"samples fetched or inferred by these queries: {fetched(server.url) - before:.0f} (aim: 0)")


if __name__ == "__main__":
    main()
