"""What a data scientist holds: push a pool, query it, get back the URIs worth labelling first (paper, Figure 3)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from alaas.calls import DEFAULT_SERVER, Calls, job_segment
from alaas.checks import UriLike, checked_budget, checked_uris
from alaas.errors import InvalidRequest, JobFailed, Timeout, TooManyRequests, Transient
from alaas.jobs import Dataset, FailedSample, Job, JobState, Report, SamplesAdded
from alaas.local_files import sent_uris
from alaas.ndjson import UriLines
from alaas.progress import StageBars

logger = logging.getLogger(__name__)
PATIENCE_S = 120.0  # a server that is away for so long ends a wait that has no timeout
_SAMPLE_ID = re.compile("[0-9a-f]{32}")

__all__ = ["Client", "Selected"]


class Selected(list[str]):
    """The chosen URIs and paths as they were pushed, first to label first."""

    def __init__(self, report: Report, given: Mapping[str, str], job: Job) -> None:
        """`given` maps a URI of the report to what the user calls it."""
        super().__init__(given.get(chosen.uri, chosen.uri) for chosen in report.selected)
        self.report = report
        self.job = job
        self.scores = [chosen.score for chosen in report.selected]
        self.failed = [
            FailedSample(id=bad.id, uri=given.get(bad.uri, bad.uri), code=bad.code, detail=bad.detail)
            for bad in report.failed
        ]


class Client(Calls):
    """One server. Times out always, tries again while an error is transient, raises the errors of alaas.errors.

    Local paths may stand wherever a URI may: the server reads them in place when it sees the same files, and
    their bytes are sent up otherwise. `progress`: True, False, or None for "when a person looks on".
    """

    def __init__(
        self,
        al_server_url: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        progress: bool | None = None,
    ) -> None:
        super().__init__(al_server_url, token=token, timeout_s=timeout_s, transport=transport)
        self.progress = progress
        self._pushed: Dataset | None = None
        self._given: dict[str, str] = {}  # URI as sent -> as the user wrote it, where they differ

    def push_data(
        self,
        data_list: Iterable[UriLike],
        asynchronous: bool = False,
        *,
        dataset: str | None = None,
        model: str | Sequence[str] | None = None,
        timeout_s: float | None = None,
        progress: bool | None = None,
    ) -> Job:
        """Push a pool and scan it, so that a later `query` mostly selects. Returns the scan's job.

        `dataset` names the pool, to grow it by later pushes; without one, the same list is the same pool and
        another list another pool. `asynchronous`: do not wait for the scan.
        """
        with self._lines(data_list, progress) as lines:
            if lines.count == 0:
                raise InvalidRequest("there is nothing to push", field="data_list")
            self._pushed = self.create_dataset(dataset or f"pool-{lines.digest}")
            self.add_uris(self._pushed, lines)
        job = self.submit_job(kind="scan", dataset=self._pushed, model=model)
        return job if asynchronous else self.wait(job, timeout_s, progress=progress)

    def query(
        self,
        budget: int = 10,
        strategy: str | Mapping[str, Any] | None = None,
        model: str | Sequence[str] | None = None,
        seed: int = 0,
        *,
        policy: Mapping[str, Any] | None = None,
        dataset: Dataset | str | None = None,
        deadline_s: float | None = None,
        timeout_s: float | None = None,
        progress: bool | None = None,
    ) -> Selected:
        """The `budget` samples worth labelling first, of the last pushed pool or of `dataset`.

        `strategy`: a name, or a mapping of `type` and its parameters. `policy`: rules for the batch, by name:
        min_distance, max_per_class, max_per_source, random_share, exclude. `model`: a name, or several as a committee.
        None: the server's defaults.
        """
        budget, pool = checked_budget(budget), dataset or self._pushed
        if pool is None:
            raise InvalidRequest("push_data first, or name a dataset", field="dataset")
        job = self.submit_job(
            dataset=pool,
            budget=budget,
            strategy=strategy,
            policy=self._as_sent(policy, progress),
            model=model,
            seed=seed,
            deadline_s=deadline_s,
        )
        return self._selected(self.wait(job, timeout_s, progress=progress))

    def query_by_uri(
        self,
        url_list: Iterable[UriLike],
        budget: int,
        strategy: str | Mapping[str, Any] | None = None,
        model: str | Sequence[str] | None = None,
        seed: int = 0,
        *,
        policy: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        progress: bool | None = None,
        in_place: bool = True,
    ) -> Selected:
        """Choose from a list in one call, as in the published package. `in_place` False uploads every local file."""
        budget, uris = checked_budget(budget), list(checked_uris(url_list, "url_list"))
        if not uris:
            raise InvalidRequest("there is nothing to choose from", field="url_list")
        sent = list(self._sent(uris, in_place, progress))
        policy = self._as_sent(policy, progress, in_place)
        job = self.submit_job(uris=sent, budget=budget, strategy=strategy, policy=policy, model=model, seed=seed)
        return self._selected(self.wait(job, timeout_s, progress=progress))

    def query_by_images(self, paths: Iterable[UriLike], budget: int, **options: Any) -> Selected:
        """Choose from image files of this machine; their bytes go up once each, by content hash. Returns paths."""
        return self.query_by_uri(checked_uris(paths, "paths"), budget, in_place=False, **options)

    def query_by_text(self, texts: Iterable[str], budget: int) -> Selected:
        """Not served yet. Raises InvalidRequest."""
        checked_budget(budget)
        raise InvalidRequest("pools of texts are not served by this release; images are", field="modality")

    def push_samples(self, dataset: Dataset | str, uris: Iterable[UriLike]) -> SamplesAdded:
        """Add URIs or local paths to a dataset, streamed: `uris` may be a generator of millions."""
        with self._lines(uris) as lines:
            if lines.count == 0:
                raise InvalidRequest("there is nothing to push", field="uris")
            return self.add_uris(dataset, lines)

    def label(self, labels: Mapping[str, str], *, dataset: Dataset | str | None = None) -> int:
        """Labels by sample id, URI or local path as pushed. A labelled sample leaves the pool of later queries."""
        pool = dataset or self._pushed
        if pool is None:
            raise InvalidRequest("push_data first, or name a dataset", field="dataset")
        return self.add_labels(pool, dict(zip(self._known_keys(labels), labels.values(), strict=True)))

    def wait(self, job: Job | str, timeout_s: float | None = None, *, progress: bool | None = None) -> Job:
        """Wait until the job ends, with a bar for each stage. Raises JobFailed, or Timeout (the job goes on)."""
        started = heard = time.monotonic()
        with StageBars(self.progress if progress is None else progress) as bars:
            while True:
                waited_s = time.monotonic() - started
                try:
                    job = self._http.look(f"/v1/jobs/{job_segment(job)}", Job)
                    heard = time.monotonic()
                    bars.show(job)
                    if job.state.is_terminal:
                        return _succeeded(job)
                except (Transient, TooManyRequests):
                    # The server may come back, and the job goes on without it.
                    if timeout_s is None and time.monotonic() - heard > PATIENCE_S:
                        raise
                if timeout_s is not None and waited_s >= timeout_s:
                    raise Timeout(f"the job did not end within {timeout_s:g} s; it goes on")
                time.sleep(poll_pause_s(waited_s, timeout_s))

    def _selected(self, job: Job) -> Selected:
        return Selected(self.report(job), self._given, job)

    def _lines(self, uris: Iterable[UriLike], progress: bool | None = None) -> UriLines:
        return UriLines(self._sent(checked_uris(uris), progress=progress))

    def _sent(self, uris: Iterable[str], in_place: bool = True, progress: bool | None = None) -> Iterator[str]:
        progress = self.progress if progress is None else progress
        for given, sent in sent_uris(self._http, uris, in_place=in_place, progress=progress):
            if sent != given:
                self._given.setdefault(sent, given)
            yield sent

    def _as_sent(
        self, policy: Mapping[str, Any] | None, progress: bool | None, in_place: bool = True
    ) -> Mapping[str, Any] | None:
        """`policy` with what it excludes as the server knows it."""
        if not policy or not policy.get("exclude"):
            return policy
        known = {given: sent for sent, given in self._given.items()}
        keys = list(checked_uris(policy["exclude"], "policy.exclude"))
        new = [key for key in dict.fromkeys(keys) if key not in known and not _SAMPLE_ID.fullmatch(key)]
        known |= zip(new, self._sent(new, in_place, progress), strict=True)
        return {**policy, "exclude": [known.get(key, key) for key in keys]}

    def _known_keys(self, labels: Mapping[str, str]) -> Iterator[str]:
        """The keys as the server knows them: ids stay, paths become what they were pushed as."""
        sent = {given: sent for sent, given in self._given.items()}
        for key in checked_uris(labels, "labels"):
            yield sent.get(key) or (key if _SAMPLE_ID.fullmatch(key) else next(self._sent([key])))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def poll_pause_s(waited_s: float, timeout_s: float | None = None) -> float:
    """Seconds to the next look at a job: a twentieth of what was waited, so that short jobs return at once."""
    pause = min(2.0, 0.02 + waited_s / 20)
    return pause if timeout_s is None else max(0.01, min(pause, timeout_s - waited_s))


def _succeeded(job: Job) -> Job:
    if job.state is JobState.SUCCEEDED:
        return job
    detail = job.error.detail if job.error else f"the job was {job.state.value}"
    raise JobFailed(detail, field=job.error.field if job.error else None, job_id=job.id, problem=job.error)
