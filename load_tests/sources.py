"""What each source costs, and the paper's Figure 7 over FTP and S3: `python -m load_tests.sources`.

Samples a second and CPU a sample of file, http, s3 and ftp, read as the download stage reads them, with and without a
delay for each object; then a whole fleet's throughput by inference batch size. Servers run in processes of their own
on the same cores. All is measured in turn, several rounds, and the median round counts; `--write` makes
docs/sources-figure.md and its plot.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from alaas.config import Config, parse_config
from alaas_workers.sources import Fetched, Sources
from load_tests import batch_sizes
from load_tests.cifar import unpack
from load_tests.places import Place, places

DOCS = Path(__file__).resolve().parents[1] / "docs"
CHUNK, CHUNKS_AT_ONCE = 128, 4
DELAY_S = 0.02


class Cost(NamedTuple):
    """Of reading a pool once, by the reading process alone."""

    samples_per_s: float
    cpu_ms: float


def cost(place: Place, names: list[str], folder: Path) -> Cost:
    """Chunks as the download stage has them, on a process that has read from there before."""
    uris = [place.base + name for name in names]
    sources = Sources(config_of(place, folder))
    try:
        read(sources, uris[: len(uris) // 8])
        started, cpu = time.perf_counter(), time.process_time()
        read(sources, uris)
        return Cost(len(uris) / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / len(uris))
    finally:
        sources.close()


def read(sources: Sources, uris: list[str]) -> None:
    chunks = [uris[start : start + CHUNK] for start in range(0, len(uris), CHUNK)]
    with ThreadPoolExecutor(CHUNKS_AT_ONCE) as threads:
        for results in threads.map(lambda chunk: sources.fetch_all(chunk, "local"), chunks):
            assert all(isinstance(result, Fetched) for result in results), results


def config_of(place: Place, folder: Path) -> Config:
    return parse_config({"storage": {"data_dir": str(folder / "data")}, "sources": place.settings})


def costs(options: argparse.Namespace, folder: Path) -> dict[tuple[str, bool], Cost]:
    """By source and whether there was a delay."""
    names = [path.name for path in unpack(folder / "images", options.images)]
    seen: dict[tuple[str, bool], list[Cost]] = defaultdict(list)
    with places(folder / "images", 0.0) as plain, places(folder / "images", DELAY_S) as slow:
        for number in range(options.rounds):
            for key, place in [((name, False), place) for name, place in plain.items()] + [
                ((name, True), place) for name, place in slow.items() if name != "file"
            ]:
                seen[key].append(cost(place, names, folder))
                print("round", number, *key, seen[key][-1], flush=True)
    return {key: Cost(*map(statistics.median, zip(*each, strict=True))) for key, each in seen.items()}


def cost_table(measured: dict[tuple[str, bool], Cost]) -> str:
    lines = [
        "| source | samples/s | CPU ms a sample | samples/s, 20 ms an object | CPU ms a sample, 20 ms an object |",
        "|---|---|---|---|---|",
    ]
    for source in ("file", "http", "s3", "ftp"):
        cells = [f"{one.samples_per_s:,.0f} | {one.cpu_ms:.2f}" if one else " | " for one in
                 (measured[source, False], measured.get((source, True)))]  # fmt: skip
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(measured: dict[tuple[str, bool], Cost], rates: batch_sizes.Rates, options: argparse.Namespace) -> str:
    return f"""# What each source costs, and Figure 7

`python -m load_tests.sources --write` makes this page, on CIFAR-10 JPEGs of about 1 KB. All of it was measured in turn
in one run, the median of {options.rounds} rounds, on {os.cpu_count()} cores that the servers share with the readers,
so the ratios count and not the figures. The load average of the machine was {options.load:.1f} when it began; above
1, other work ran beside it.

## What each source costs

{options.images:,} files, read as one download process does: {CHUNKS_AT_ONCE} chunks of {CHUNK} at once, 16 samples of
each. CPU is that of the reading process alone. The servers are aiohttp for http, `moto_server` for s3 and `pyftpdlib`
for ftp, all of them Python, and without a delay they may be what limits the rate. The delay is the server's, before
each object.

{cost_table(measured)}

A connection to an FTP server brings one file at a time, so a delay of 20 ms and `sources.ftp.connections` (8) bound it
at 400 samples a second from each download process. More connections lift that where the server takes them.

## The paper's Figure 7

Throughput of one query end to end (least confidence, ResNet-18 at 224, {options.figure_images} images) by inference
batch size, with the images on an FTP server and on S3. The grey line is the model alone on ready batches, in the same
minutes.

{batch_sizes.table(rates)}

![Throughput by inference batch size, over FTP and S3](sources-figure.svg)

In the paper the throughput rises with the batch size and then stops, on a GPU, which larger batches fill better. A CPU
is full at small batches, and its caches hold the activations of small ones only ([performance](performance.md)). So
the curve to compare the fleet with is the model's own.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="of the sources' costs")
    parser.add_argument("--figure-images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forward-s", type=float, default=3.0, help="seconds of each measure of the model alone")
    parser.add_argument("--instances", type=int, default=2, help="copies of the model")
    parser.add_argument("--write", action="store_true", help="write docs/sources-figure.md and .svg")
    options = parser.parse_args()
    options.precision, options.compile, options.chunk_size, options.load = "fp32", False, CHUNK, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        measured = costs(options, Path(name))
        print(cost_table(measured))
        rates = batch_sizes.measure(options, Path(name))
        print(batch_sizes.table(rates))
    if options.write:
        batch_sizes.plot(rates, DOCS / "sources-figure.svg")
        (DOCS / "sources-figure.md").write_text(page(measured, rates, options))


if __name__ == "__main__":
    main()
