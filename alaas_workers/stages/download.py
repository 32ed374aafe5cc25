"""Download: URIs to bytes. Loads neither torch nor the catalog."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.cache import pack
from alaas_workers.ledger import FailedAt, Lease
from alaas_workers.pipeline import Made, TooBig
from alaas_workers.sources import Sources

CHANGED = "it changed since it was listed; import it again"


class Download:
    def __init__(self, config: Config) -> None:
        self._sources = Sources(config)
        self._max_bytes = max(config.pipeline.in_flight_bytes // 4, config.sources.max_sample_bytes)

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        uris = [sample.uri for sample in lease.samples]
        results = self._sources.fetch_all(uris, lease.spec.owner, progress, on_bytes=self._within_cap(len(uris)))
        failed, ordinals, versions, arrays = [], [], [], []
        for sample, result in zip(lease.samples, results, strict=True):
            if isinstance(result, SampleError):
                failed.append(FailedAt(sample.ordinal, result.sample_code, result.detail))
                continue
            if not self._sources.is_as_listed(sample.uri, sample.version, result.version):
                failed.append(FailedAt(sample.ordinal, SampleCode.UNSTABLE, CHANGED))
                continue
            ordinals.append(sample.ordinal)
            # A planner that could not see the file gave no version, and selection will look for none. A source that
            # tells no version of what it gives is believed to give what was listed.
            versions.append((result.version or sample.version) if sample.version else "")
            arrays.append(np.frombuffer(result.data, dtype=np.uint8))
        return Made(pack(ordinals, versions, arrays) if arrays else b"", len(arrays), failed)

    def _within_cap(self, samples: int) -> Callable[[int], None]:
        """Stops a chunk that outgrows the cap while it is fetched, so that no worker holds it whole."""
        total_bytes = 0

        def add(size_bytes: int) -> None:
            nonlocal total_bytes
            total_bytes += size_bytes
            if total_bytes > self._max_bytes and samples > 1:
                raise TooBig("more bytes than may be in flight")

        return add
