"""The catalog alone: a million URIs in, and a job's pool out again: `python -m load_tests.catalog`.

`--url` measures another catalog, such as PostgreSQL; default: SQLite in a new folder.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from alaas.jobs import JobRequest
from alaas_workers.catalog import Catalog
from alaas_workers.gathering import pool_pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--url", help="of the catalog; default: SQLite in a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.open(options.url or f"sqlite:///{Path(folder) / 'catalog.db'}")
        dataset, _ = catalog.create_dataset("benchmark", f"pool-{time.time_ns()}")
        uris = (f"s3://a-bucket/a-folder/{number:08d}.jpg" for number in range(options.samples))
        started = time.perf_counter()
        added = catalog.add_samples("benchmark", dataset.id, uris, options.samples).added
        seconds = time.perf_counter() - started
        print(f"{added:,} samples inserted in {seconds:.1f} s, {added / seconds:,.0f} a second")
        request = JobRequest.model_validate(
            {"dataset_id": dataset.id, "strategy": {"type": "RandomSampling"}, "budget": 1}
        )
        job, _ = catalog.create_job(
            "benchmark", request, model="null", strategy={"type": "RandomSampling"}, max_active=1
        )
        started = time.perf_counter()
        read = sum(map(len, pool_pages(catalog, job.id)))
        seconds = time.perf_counter() - started
        print(f"{read:,} samples read in {seconds:.1f} s, {read / seconds:,.0f} a second")
        print(f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
