"""Progress as the API says it: the most of what catalog and ledger know, and never less than it has said before."""

from __future__ import annotations

import threading
from collections import OrderedDict

from alaas.jobs import Progress
from alaas_workers.catalog import furthest

REMEMBERED_JOBS = 4096


class Said:
    """What was said last of each running job: a ledger that is wiped in mid-job starts again from nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: OrderedDict[str, Progress] = OrderedDict()

    def at_least(self, job_id: str, progress: Progress) -> Progress:
        with self._lock:
            progress = furthest(self._last.pop(job_id, progress), progress)
            self._last[job_id] = progress
            if len(self._last) > REMEMBERED_JOBS:
                self._last.popitem(last=False)
            return progress
