"""How many requests, how long, with what answer: labels are route templates, so their number is bounded."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram

_METHODS = {"GET", "HEAD", "POST", "PUT"}


class HttpMetrics:
    """Of this process. With several (`api.workers`) each answers for itself; `pid` keeps their counts apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._pid = str(os.getpid())
        labels = ["method", "route", "status", "pid"]
        self._requests = Counter("alaas_http_requests", "Requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "alaas_http_request_seconds", "From the request's head to the answer's head", ["route", "pid"],
            registry=self.registry, buckets=(0.005, 0.02, 0.1, 0.5, 1, 3, 10, 60),
        )  # fmt: skip

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        route = route or "none"
        self._requests.labels(method if method in _METHODS else "other", route, str(status), self._pid).inc()
        self._seconds.labels(route, self._pid).observe(seconds)
