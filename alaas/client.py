"""What a data scientist holds: push a pool, query it, get back the URIs worth labelling first (paper, Figure 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any

from alaas.checks import UriLike, checked_budget, checked_uris
from alaas.errors import InvalidRequest
from alaas.given import Given
from alaas.jobs import Dataset, FailedSample, Job, Report
from alaas.local_folders import expanded
from alaas.pushing import Pushing
from alaas.sent_texts import checked_texts
from alaas.texts import text_of

_SAMPLE_ID = re.compile("[0-9a-f]{32}")

__all__ = ["Client", "Selected"]


class Selected(list[str]):
    """The chosen URIs and paths as they were pushed, first to label first."""

    def __init__(self, report: Report, given: Given, job: Job) -> None:
        super().__init__(given.name_of(chosen.uri) for chosen in report.selected)
        self.report = report
        self.job = job
        self.scores = [chosen.score for chosen in report.selected]
        self.failed = [
            FailedSample(id=bad.id, uri=given.name_of(bad.uri), code=bad.code, detail=bad.detail)
            for bad in report.failed
        ]


class Client(Pushing):
    """One server. Times out always, tries again while an error is transient, raises the errors of alaas.errors."""

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
        if pool is self._pushed:
            self._await_import(timeout_s, progress)
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
        url_list: Iterable[UriLike] | UriLike,
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
        """Choose from a list in one call, as in the published package. `in_place` False uploads every local file.

        Folders of images may stand in it. As one text it is what `push_data` takes: a folder, a prefix or a manifest.
        """
        budget = checked_budget(budget)
        if isinstance(url_list, str | PathLike):
            self.push_data(url_list, asynchronous=True, model=model, progress=progress)
            return self.query(budget, strategy, model, seed, policy=policy, timeout_s=timeout_s, progress=progress)
        uris = list(expanded(checked_uris(url_list, "url_list"), "vision"))
        if not uris:
            raise InvalidRequest("there is nothing to choose from", field="url_list")
        sent = list(self._sent(uris, in_place, progress))
        policy = self._as_sent(policy, progress, in_place)
        job = self.submit_job(uris=sent, budget=budget, strategy=strategy, policy=policy, model=model, seed=seed)
        return self._selected(self.wait(job, timeout_s, progress=progress))

    def query_by_images(self, paths: Iterable[UriLike] | UriLike, budget: int, **options: Any) -> Selected:
        """Choose from image files of this machine; their bytes go up once each, by content hash. Returns paths."""
        paths = [paths] if isinstance(paths, str | PathLike) else paths
        return self.query_by_uri(checked_uris(paths, "paths"), budget, in_place=False, **options)

    def query_by_text(
        self,
        texts: Iterable[str],
        budget: int,
        strategy: str | Mapping[str, Any] | None = None,
        model: str | Sequence[str] | None = None,
        seed: int = 0,
        *,
        policy: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        progress: bool | None = None,
    ) -> Selected:
        """Choose from a list of texts in one call; returns texts. `model` None: the server's first text model."""
        budget, sent = checked_budget(budget), list(self._sent_texts(checked_texts(texts), progress))
        if not sent:
            raise InvalidRequest("there is nothing to choose from", field="texts")
        policy = self._as_sent(policy, progress)
        job = self.submit_job(
            uris=sent, modality="text", budget=budget, strategy=strategy, policy=policy, model=model, seed=seed
        )
        return self._selected(self.wait(job, timeout_s, progress=progress))

    def _selected(self, job: Job) -> Selected:
        report = self.report(job)
        if not self._given.has_texts and any(text_of(chosen.uri) is not None for chosen in report.selected):
            # Of a pool that another client pushed. Who pushed such URIs as URIs gets them back.
            self._given.has_texts = self.dataset(job.dataset_id).modality == "text"
        return Selected(report, self._given, job)

    def _as_sent(
        self, policy: Mapping[str, Any] | None, progress: bool | None, in_place: bool = True
    ) -> Mapping[str, Any] | None:
        """`policy` with what it excludes as the server knows it."""
        if not policy or not policy.get("exclude"):
            return policy
        known = self._given.sent()
        keys = list(checked_uris(policy["exclude"], "policy.exclude"))
        new = [key for key in dict.fromkeys(keys) if key not in known and not _SAMPLE_ID.fullmatch(key)]
        known |= zip(new, self._sent(new, in_place, progress), strict=True)
        return {**policy, "exclude": [known.get(key, key) for key in keys]}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
