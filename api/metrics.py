"""GET /metrics: what catalog and ledger count, read when Prometheus asks. A part that is away is said to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alaas.errors import Unavailable
from alaas.jobs import JobState, Stage
from alaas_workers.ledger import LedgerMetrics
from api.parts import Parts, parts
from api.routing import Call, RouteTable

ROUTES = RouteTable()


@ROUTES.add("GET", "/metrics", {200: "text/plain"})
def metrics(call: Call) -> Response:
    """Figures for Prometheus"""
    own = parts()
    text = generate_latest(own.http.registry) + generate_latest(FleetCollector(own))
    return Response(text, content_type=CONTENT_TYPE_LATEST)


class FleetCollector(Collector):
    """Collects at most once per part: what cannot be reached costs one timeout."""

    def __init__(self, own: Parts) -> None:
        self._parts = own

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("alaas_up", "1 when the part can be reached", labels=["part"])
        for name, families in (("catalog", self._catalog), ("ledger", self._ledger)):
            try:
                yield from families()
                up.add_metric([name], 1)
            except Unavailable:
                up.add_metric([name], 0)
        if (triton := self._parts.triton.look()) is not None:
            up.add_metric(["triton"], float(triton.ok))
        yield up

    def _catalog(self) -> list[Metric]:
        states = self._parts.catalog.job_states()
        counts = {state.value: states.get(state.value, 0) for state in JobState}
        return [_gauge("alaas_jobs", "Jobs by state", "state", counts)]

    def _ledger(self) -> list[Metric]:
        figures = self._parts.ledger.metrics()
        alive = self._parts.ledger.workers()
        roles = [*(stage.value for stage in Stage), "dispatcher"]
        workers = {role: alive.get(role, 0) for role in roles}
        return [*_stages(figures), *_totals(figures), _gauge("alaas_workers", "Processes alive", "stage", workers)]


def _stages(figures: LedgerMetrics) -> list[Metric]:
    return [
        _counter("alaas_stage_samples", "Samples that a stage finished", "stage", figures.samples),
        _counter("alaas_stage_seconds", "Seconds that workers spent on them", "stage", figures.seconds),
        _gauge("alaas_stage_waiting", "Chunks that wait for a worker", "stage", figures.waiting),
        _gauge("alaas_stage_in_flight", "Chunks that a worker holds", "stage", figures.in_flight),
        _counter("alaas_sample_errors", "Samples left out, by reason", "code", figures.errors),
    ]


def _totals(figures: LedgerMetrics) -> list[Metric]:
    return [
        CounterMetricFamily("alaas_feature_cache_hits", "Samples whose features were there", figures.cache_hits),
        CounterMetricFamily("alaas_feature_cache_misses", "Samples to be computed", figures.cache_misses),
        CounterMetricFamily("alaas_expired_leases", "Leases that ran out", figures.expired_leases),
        CounterMetricFamily("alaas_returned_chunks", "Chunks sent back to download", figures.returned_chunks),
        GaugeMetricFamily("alaas_in_flight_bytes", "Bytes between the stages", figures.bytes_in_flight),
    ]


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=[label]), values.items())


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=[label]), values.items())


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in values:
        family.add_metric([label], value)
    return family
