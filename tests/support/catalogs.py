"""Short ways to fill a catalog in tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alaas.jobs import Chosen, JobRequest, Problem, Report
from alaas_workers.catalog import Catalog, JobRecord

OWNER = "ada"
OTHER = "eve"
MANY = 1_000_000
BROKEN = Problem(title="It broke", status=422, code="model_error", detail="The model cannot be used.")


def uris(count: int, prefix: str = "https://example.org/image") -> list[str]:
    return [f"{prefix}-{number}.jpg" for number in range(count)]


def new_dataset(catalog: Catalog, count: int = 0, *, owner: str = OWNER, name: str = "cats") -> str:
    """The id of a dataset that holds `uris(count)`."""
    dataset, _ = catalog.create_dataset(owner, name)
    if count:
        catalog.add_samples(owner, dataset.id, uris(count), MANY)
    return dataset.id


def submit(
    catalog: Catalog,
    *,
    owner: str = OWNER,
    dataset_id: str | None = None,
    of: Iterable[str] | None = None,
    budget: int | None = 1,
    max_active: int = 100,
    **more: Any,
) -> tuple[JobRecord, bool]:
    fields: dict[str, Any] = {"dataset_id": dataset_id, "uris": None if of is None else list(of), "budget": budget}
    fields |= {name: more.pop(name) for name in ("kind", "seed", "deadline_s") if name in more}
    request = JobRequest.model_construct(None, **fields)  # unchecked: the catalog judges by itself
    values = {"model": "resnet18", "strategy": {"type": "LeastConfidence"}} | more
    return catalog.create_job(owner, request, max_active=max_active, **values)


def new_job(catalog: Catalog, **arguments: Any) -> JobRecord:
    """A job of its own, over one URI when nothing else is asked for."""
    if "dataset_id" not in arguments:
        arguments.setdefault("of", uris(1))
    return submit(catalog, **arguments)[0]


def report(*chosen: str) -> Report:
    """One that selected these URIs; it holds text beyond ASCII and floats that need all their digits."""
    selected = [Chosen(rank=rank, id=f"{rank}", uri=uri, score=1 / 3) for rank, uri in enumerate(chosen, start=1)]
    return Report(
        kind="query", model="resnet18", fingerprint="f", strategy={"type": "LeastConfidence", "b": 1, "a": [0.1]},
        budget=len(chosen), seed=7, pool=10, duplicates=2, selected=selected, failed=[], warnings=["größer \x00 als"],
    )  # fmt: skip
