"""Progress bars for whoever looks on: one for each stage of a job, one for bytes on their way up."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from alaas.jobs import SCAN_STAGES, Job, Stage


def is_watched(progress: bool | None) -> bool:
    """What the caller asked for; None: only where a person sees standard error, on a terminal or in a notebook."""
    return progress if progress is not None else sys.stderr.isatty() or "ipykernel" in sys.modules


class _Bars:
    """Opens tqdm's bars at first use and closes them all; a hidden one does nothing."""

    def __init__(self, progress: bool | None) -> None:
        self._shown = is_watched(progress)
        self._open: dict[str, Any] = {}

    def _bar(self, name: str, **settings: Any) -> Any:
        if name not in self._open:
            from tqdm import tqdm  # Loading it is for those who see bars.

            self._open[name] = tqdm(desc=f"{name:<10}", position=len(self._open), dynamic_ncols=True, **settings)
        return self._open[name]

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for bar in self._open.values():
            bar.close()


class StageBars(_Bars):
    """`show(job)` moves the bars to where the job is."""

    def show(self, job: Job) -> None:
        if not self._shown or job.progress.total == 0:
            return
        if job.kind == "import":
            bar = self._bar("import", unit="row")
            bar.update(job.progress.total - bar.n)
            return
        stages = SCAN_STAGES if job.kind == "scan" else tuple(Stage)
        for stage in stages:
            reached = job.progress.stages.get(stage)
            bar = self._bar(stage.value, total=reached.total if reached else job.progress.total, unit="sample")
            if reached is not None and (bar.n, bar.total) != (reached.done, reached.total):
                bar.total = reached.total
                bar.update(reached.done - bar.n)
        if job.progress.failed:
            self._open[SCAN_STAGES[0].value].set_postfix(failed=job.progress.failed)


class UploadBar(_Bars):
    """Bytes; the total grows as more becomes known. Several threads may advance it."""

    def expect(self, size_bytes: int) -> None:
        if self._shown and size_bytes:
            bar = self._bar("upload", total=0, unit="B", unit_scale=True)
            bar.total += size_bytes
            bar.refresh()

    def advance(self, size_bytes: int) -> None:
        if self._shown and "upload" in self._open:
            with self._open["upload"].get_lock():
                self._open["upload"].update(size_bytes)
