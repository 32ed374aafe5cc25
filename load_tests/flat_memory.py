"""A job of 100,000 samples with the null model: `python -m load_tests.flat_memory`.

Memory of every process and of both Redis, sampled while it runs: the cache must stay under its budget, and no process
may grow with the pool. Prints each process's resident memory in the first and the last quarter of the scan.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import redis
import yaml

from alaas import Server
from alaas.config import load_config
from load_tests.cifar import unpack
from load_tests.image_server import image_server

MIB = 2**20
ROLES = ("alaas_workers", "api", "download", "preprocess", "inference", "selection")


class Watch(threading.Thread):
    """Samples memory twice a second: of all descendants of this process by their command, and of the cache's Redis."""

    def __init__(self, cache_url: str) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.resident: dict[str, list[int]] = defaultdict(list)
        self.cache: list[int] = []
        self._redis = redis.Redis.from_url(cache_url)

    def run(self) -> None:
        while not self.done.wait(0.5):
            self.cache.append(self._redis.info("memory")["used_memory"])
            for process in psutil.Process().children(recursive=True):
                try:
                    words = process.cmdline()
                    role = " ".join(word for word in words if word.startswith(ROLES)) or words[0]
                    self.resident[f"{role} {process.pid}"].append(process.memory_info().rss)
                except (psutil.Error, IndexError):
                    continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--cache-mib", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [path.name for path in unpack(folder / "images", 1000)]
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump({
            "models": {"null": {"source": "null"}},
            "pipeline": {"chunk_size": 256, "in_flight_bytes": 16 * MIB},
            "cache": {"max_memory_bytes": options.cache_mib * MIB},
            "storage": {"data_dir": str(folder / "data")},
        }))  # fmt: skip
        with image_server(folder / "images") as base, Server(config, port=0) as server, server.client() as client:
            uris = [f"{base}/{names[i % len(names)]}?{i}" for i in range(options.samples)]
            effective = load_config(folder / "data" / "run" / "effective.yml")
            assert effective.cache.url is not None
            watch = Watch(effective.cache.url.get_secret_value())
            watch.start()
            started = time.perf_counter()
            selected = client.query_by_uri(uris, budget=1000)
            elapsed_s = time.perf_counter() - started
            watch.done.set()
            watch.join()
    rate = options.samples / elapsed_s
    print(f"{options.samples} samples in {elapsed_s:.0f} s ({rate:.0f}/s), {len(selected)} selected")
    print(f"cache's Redis: at most {max(watch.cache) / MIB:.0f} MiB of {options.cache_mib} MiB")
    for role, sizes in sorted(watch.resident.items()):
        if len(sizes) >= 8:
            quarter = len(sizes) // 4
            first, last = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
            print(
                f"{role:45} second quarter {first / MIB:7.0f} MiB, last {last / MIB:7.0f} MiB ({last / first - 1:+.0%})"
            )


if __name__ == "__main__":
    main()
