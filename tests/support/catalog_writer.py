"""One of several processes that open a new catalog at once and write to it: `python -m ... URL NUMBER`.

Prints what a test cannot see in the catalog: which of the shared job's ends this process won.
"""

from __future__ import annotations

import sys

from alaas.jobs import JobState, Progress
from alaas_workers.catalog import Catalog
from tests.support.catalogs import MANY, OWNER, new_job, report, uris

ROUNDS = 8
SHARED = 300


def main(url: str, number: int) -> None:
    with Catalog.open(url) as catalog:
        dataset, _ = catalog.create_dataset(OWNER, "shared", tags={f"from {number}": "x"})
        mine = uris(100, f"of-{number}")
        catalog.add_samples(OWNER, dataset.id, [*mine[:50], *uris(SHARED), *mine[50:]], MANY)
        job = new_job(catalog, of=uris(5), max_active=MANY, idempotency_key="shared", request_digest="d")
        for turn in range(ROUNDS):
            catalog.add_labels(OWNER, dataset.id, {mine[turn]: f"label {turn}"})
            catalog.save_progress(job.id, Progress(total=turn, cached=number))
            new_job(catalog, dataset_id=dataset.id, max_active=MANY)
        print(int(catalog.finish(job.id, JobState.SUCCEEDED, report=report(f"{number}"))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
