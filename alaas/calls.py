"""The HTTP API as Python: one method a route, typed on both sides. alaas.client adds files, waiting and more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from alaas.checks import checked
from alaas.errors import NotFound
from alaas.jobs import (
    Dataset,
    DatasetRequest,
    Job,
    JobRequest,
    JobState,
    LabelsAdded,
    LabelsRequest,
    ModelCard,
    Report,
    Sample,
    SamplesAdded,
    StrategyCard,
)
from alaas.ndjson import NDJSON_TYPE, UriLines
from alaas.select_form import SelectForm, opened_pool, select_request
from alaas.selections import SelectAnswer
from alaas.transport import Http

DEFAULT_SERVER = "localhost:8888"
LARGEST_PAGE = 1000  # what the API gives at most
Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next` is the cursor of the one after it."""

    items: list[Item]
    next: str | None = None


class Calls:
    """Every route of the API. A dataset is given as a Dataset, its id or its name; a job as a Job or its id."""

    def __init__(
        self,
        al_server_url: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = Http(al_server_url, token=token, timeout_s=timeout_s, transport=transport)
        self.url = str(self._http.url)

    def create_dataset(self, name: str, *, modality: str = "vision", tags: Mapping[str, str] | None = None) -> Dataset:
        """Make a dataset, or get the one of that name; its tags are merged."""
        request = checked(DatasetRequest, name=name, modality=modality, tags=dict(tags or {}))
        return self._http.post("/v1/datasets", Dataset, request)

    def datasets(self) -> Iterator[Dataset]:
        return self._items("/v1/datasets", Page[Dataset])

    def dataset(self, dataset: Dataset | str) -> Dataset:
        """By id or name. Raises NotFound."""
        if isinstance(dataset, Dataset):
            dataset = dataset.id
        for found in self._items("/v1/datasets", Page[Dataset], name=dataset):
            if found.name == dataset:
                return found
        try:
            return self._http.get(f"/v1/datasets/{_segment(dataset)}", Dataset)
        except NotFound:
            raise NotFound(f"no dataset has the name or id {dataset!r:.80}", field="dataset_id") from None

    def add_uris(self, dataset: Dataset | str, uris: UriLines) -> SamplesAdded:
        """Stream URIs, just as the server shall know them, into a dataset."""
        path = f"/v1/datasets/{self._dataset_id(dataset)}/samples"
        return self._http.send("POST", path, SamplesAdded, uris.pieces, uris.size_bytes, NDJSON_TYPE)

    def samples(self, dataset: Dataset | str, *, labelled: bool | None = None) -> Iterator[Sample]:
        path = f"/v1/datasets/{self._dataset_id(dataset)}/samples"
        return self._items(path, Page[Sample], labelled=None if labelled is None else str(labelled).lower())

    def add_labels(self, dataset: Dataset | str, labels: Mapping[str, str]) -> int:
        """Labels by sample id or URI, just as the server knows them; how many were set."""
        request = checked(LabelsRequest, labels=dict(labels))
        path = f"/v1/datasets/{self._dataset_id(dataset)}/labels"
        return self._http.post(path, LabelsAdded, request).labelled

    def submit_job(
        self,
        *,
        kind: str = "query",
        dataset: Dataset | str | None = None,
        uris: Iterable[str] | None = None,
        modality: str | None = None,
        listing: Mapping[str, Any] | None = None,
        budget: int | None = None,
        strategy: str | Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        model: str | Sequence[str] | None = None,
        seed: int = 0,
        deadline_s: float | None = None,
    ) -> Job:
        """Queue a query, or a scan that only computes features. Give `dataset` or `uris`, with their `modality`.

        `kind="import"` adds what `listing` lists (alaas.jobs.Listing) to `dataset`, and takes nothing else. `policy`:
        rules for the batch (alaas.jobs.Policy); None: the server's, {}: none. `model`: several are a committee.
        """
        request = checked(
            JobRequest,
            kind=kind,
            uris=None if uris is None else list(uris),
            modality=modality,
            listing=None if listing is None else dict(listing),
            budget=budget,
            strategy=dict(strategy) if isinstance(strategy, Mapping) else strategy,
            policy=None if policy is None else dict(policy),
            model=list(model) if isinstance(model, tuple) else model,
            seed=seed,
            deadline_s=deadline_s,
        )
        if dataset is not None:
            request = request.model_copy(update={"dataset_id": self._dataset_id(dataset)})
        return self._http.post("/v1/jobs", Job, request)

    def job(self, job: Job | str) -> Job:
        return self._http.get(f"/v1/jobs/{job_segment(job)}", Job)

    def jobs(self, *, state: JobState | str | None = None) -> Iterator[Job]:
        return self._items("/v1/jobs", Page[Job], state=None if state is None else str(state))

    def report(self, job: Job | str) -> Report:
        """Raises Conflict while the job runs, and the job's own error when it failed."""
        return self._http.get(f"/v1/jobs/{job_segment(job)}/report", Report)

    def cancel(self, job: Job | str) -> Job:
        return self._http.post(f"/v1/jobs/{job_segment(job)}/cancel", Job)

    def select(
        self,
        path: str | PathLike[str] | None = None,
        *,
        budget: int,
        strategy: str | Mapping[str, Any] | None = None,
        seed: int = 0,
        policy: Mapping[str, Any] | None = None,
        ids: Iterable[str | int] | None = None,
        probabilities: Any = None,
        embeddings: Any = None,
        timeout_s: float = 600.0,
        **arrays: Any,
    ) -> SelectAnswer:
        """Choose from your own scores, without jobs and models: from a file (NPZ or Parquet), or from arrays.

        `probabilities` (N, C), `embeddings` (N, d) and the other arrays of docs/bring-your-own-scores.md by name take
        numpy here. `ids` (N,): default the rows' numbers. `timeout_s`: above the server's own limits.
        """
        request = select_request(budget=budget, strategy=strategy, seed=seed, policy=policy)
        given = {"probabilities": probabilities, "embeddings": embeddings, **arrays}
        with opened_pool(path, ids, {name: array for name, array in given.items() if array is not None}) as file:
            form = SelectForm(request, file)
            return self._http.send(
                "POST", "/v1/select", SelectAnswer, form.pieces, form.size_bytes, form.content_type, timeout_s
            )

    def strategies(self) -> list[StrategyCard]:
        return self._http.get("/v1/strategies", Page[StrategyCard]).items

    def models(self) -> list[ModelCard]:
        return self._http.get("/v1/models", Page[ModelCard]).items

    def config(self) -> dict[str, Any]:
        """The server's name, version, defaults and limits."""
        return self._http.get("/v1/config", dict[str, Any])

    def health(self) -> dict[str, Any]:
        """What `/readyz` says, with `ready` true or false. Raises Unavailable when nobody answers."""
        response = self._http.ask("/readyz")
        try:
            said = response.json()
        except ValueError:
            said = {}
        return {"ready": response.is_success, **(said if isinstance(said, dict) else {})}

    def _items(self, path: str, page: type[Page[Item]], **params: Any) -> Iterator[Item]:
        after: str | None = None
        while True:
            got = self._http.get(path, page, after=after, limit=LARGEST_PAGE, **params)
            yield from got.items
            after = got.next
            if after is None:
                return

    def _dataset_id(self, dataset: Dataset | str) -> str:
        return _segment(dataset.id if isinstance(dataset, Dataset) else self.dataset(dataset).id)

    def close(self) -> None:
        self._http.close()


def _segment(text: str) -> str:
    """Safe as one segment of a path: an id with a slash in it must not name another route."""
    return quote(text, safe="") or "-"


def job_segment(job: Job | str) -> str:
    """The job's id as a segment of a path."""
    return _segment(job.id if isinstance(job, Job) else job)
