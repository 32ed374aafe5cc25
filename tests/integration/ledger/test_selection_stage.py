"""The selection's work on a real catalog, cache and ledger: what it writes, and when it writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from alaas.config import Config
from alaas.errors import SampleCode
from alaas.jobs import Feature, JobState, ModelCard, Report
from alaas_workers.cache import Cache, FeatureKeys
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.heart import LeaseLost
from alaas_workers.ledger import ChunkSample, FailedAt, JobSpec, Lease, Ledger, Outcome
from alaas_workers.model_cards import ModelCards
from alaas_workers.pipeline import NotNow
from alaas_workers.stages.selection import Selection
from tests.support.catalogs import OWNER, new_dataset, new_job, uris
from tests.support.ledger import claimed, config_for, let_run_out, the_job

CARD = ModelCard(
    name="small", modality="vision", fingerprint="f1", transform="t1", classes=2, embedding_size=2,
    outputs=[Feature.PROBABILITIES, Feature.EMBEDDINGS],
)  # fmt: skip


class Bench:
    """A job that was scanned: `there` are the samples whose features lie in the cache, `failed` those that failed."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self.config, self.catalog = config, catalog
        self.ledger, self.cache = Ledger.open(config), Cache.open(config)
        self.selection = Selection(config)
        ModelCards.open(config).publish(CARD)

    def close(self) -> None:
        self.selection._catalog.close()

    def scanned(
        self, there: Iterable[int], failed: Iterable[int] = (), *, dataset_id: str | None = None, **more: Any
    ) -> tuple[JobRecord, Lease]:
        dataset_id = dataset_id or new_dataset(self.catalog, 6, name=f"{time.monotonic_ns()}")
        values: dict[str, Any] = {"budget": 2, "strategy": {"type": "LeastConfidence"}} | more
        record = new_job(self.catalog, dataset_id=dataset_id, model="small", **values)
        feature = Feature.EMBEDDINGS if values["strategy"]["type"] == "KCenterSampling" else Feature.PROBABILITIES
        spec = JobSpec(OWNER, record.dataset_id, "small", "f1", "t1", (feature,))
        self.ledger.open_job(record.id, spec, 6)
        self.keep(record, there)
        return record, self.scan(record, list(failed))

    def keep(self, record: JobRecord, there: Iterable[int]) -> None:
        spec = the_job(self.ledger, record.id).spec
        make, all_uris = FeatureKeys(spec, spec.features[0]), uris(6)
        self.cache.put_features((make(all_uris[at], ""), self.row(at)) for at in there)

    def row(self, at: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array([0.5 + at / 20, 0.5 - at / 20], dtype=np.float32)  # the first is the least sure

    def scan(self, record: JobRecord, failed: list[int]) -> Lease:
        """One chunk of the whole pool that ended; the lease of the selection that this opened."""
        samples = [ChunkSample(sample.ordinal, sample.uri, "") for sample in self.catalog.pool(record.id)]
        units = self.ledger.admit(the_job(self.ledger, record.id), 5, True, samples, 0)[1]
        outcome = Outcome(0, [FailedAt(at, SampleCode.NOT_FOUND, "gone") for at in failed])
        hint = self.ledger.done(claimed(self.ledger, units[0]), None, outcome, 0.1)[1]
        assert hint is not None
        return claimed(self.ledger, hint, "selecting")

    def run(self, lease: Lease) -> bool:
        """Whether the selection is through; False: it took another course."""
        return self.selection(lease, b"", lambda: None) is not None

    def report(self, record: JobRecord) -> Report:
        return Report.model_validate_json(self.catalog.report(record.id))

    def state(self, record: JobRecord) -> JobState:
        return self.catalog.get_job(record.id).state


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    config = config_for(redis_url, models={"small": {"source": "null"}}, catalog={"url": url})
    with Catalog.open(url) as catalog:
        bench = Bench(config, catalog)
        yield bench
        bench.close()


def test_a_scanned_pool_is_selected_from_and_the_report_written(bench: Bench) -> None:
    record, lease = bench.scanned(range(6))
    assert bench.run(lease)
    report = bench.report(record)
    assert [chosen.uri for chosen in report.selected] == uris(6)[:2]
    assert (report.pool, report.failed, report.fingerprint) == (6, [], "f1")
    assert bench.state(record) is JobState.SUCCEEDED


def test_what_failed_is_reported_with_its_reason_and_the_rest_selected_from(bench: Bench) -> None:
    record, lease = bench.scanned([1, 2, 3, 4, 5], failed=[0])
    assert bench.run(lease)
    report = bench.report(record)
    assert [(sample.uri, sample.code) for sample in report.failed] == [(uris(6)[0], "not_found")]
    assert [chosen.uri for chosen in report.selected] == uris(6)[1:3]


def test_doing_it_again_gives_the_same_report(bench: Bench) -> None:
    dataset_id = new_dataset(bench.catalog, 6)
    reports = []
    for _ in range(2):
        record, lease = bench.scanned(range(6), dataset_id=dataset_id)
        bench.run(lease)
        reports.append(bench.catalog.report(record.id))
    assert reports[0] == reports[1]


def test_a_job_whose_report_is_there_is_only_ended(bench: Bench) -> None:
    record, lease = bench.scanned(range(6))
    bench.run(lease)
    before = bench.catalog.report(record.id)
    assert bench.run(lease)
    assert bench.catalog.report(record.id) == before


def test_a_pool_that_failed_as_a_whole_fails_the_job_and_says_of_what(bench: Bench) -> None:
    record, lease = bench.scanned([], failed=range(6))
    assert bench.run(lease)
    error = bench.catalog.get_job(record.id).error
    assert error is not None and error.code == "nothing_to_select" and "6 not_found" in error.detail


def test_too_few_samples_give_a_short_report_with_a_warning(bench: Bench) -> None:
    record, lease = bench.scanned([3], failed=[0, 1, 2, 4, 5])
    assert bench.run(lease)
    report = bench.report(record)
    assert (len(report.selected), len(report.warnings)) == (1, 1)


# Features that vanished


def test_features_that_vanished_are_scanned_again(bench: Bench) -> None:
    record, lease = bench.scanned([0, 1, 2])
    assert not bench.run(lease)
    assert (the_job(bench.ledger, record.id).round, bench.state(record).is_terminal) == (1, False)


def test_features_that_vanish_in_every_round_are_reported_as_unstable(bench: Bench) -> None:
    record, lease = bench.scanned([0, 1, 2, 3, 4])
    for _ in range(3):
        assert not bench.run(lease)
        lease = bench.scan(record, [])
    assert bench.run(lease)
    assert [(sample.uri, sample.code) for sample in bench.report(record).failed] == [(uris(6)[5], "unstable")]


def test_labelled_samples_whose_features_vanished_are_scanned_again_too(bench: Bench) -> None:
    dataset_id = new_dataset(bench.catalog, 6)
    bench.catalog.add_labels(OWNER, dataset_id, {uris(6)[5]: "cat"})
    record, lease = bench.scanned(range(5), dataset_id=dataset_id, strategy={"type": "KCenterSampling"})
    assert not bench.run(lease)
    assert the_job(bench.ledger, record.id).round == 1
    bench.keep(record, [5])
    assert bench.run(bench.scan(record, []))
    assert len(bench.report(record).selected) == 2


def test_a_damaged_feature_is_scanned_again(bench: Bench, client: redis.Redis) -> None:
    record, lease = bench.scanned(range(6))
    key = FeatureKeys(lease.spec, Feature.PROBABILITIES)(uris(6)[2], "")
    client.set(key, b"abc", ex=60)
    assert not bench.run(lease)
    assert the_job(bench.ledger, record.id).round == 1


# Whoever lost the selection


def overtaken(bench: Bench, client: redis.Redis, lease: Lease) -> Lease:
    let_run_out(client, lease.unit)
    return claimed(bench.ledger, lease.unit, "another")


def test_whoever_lost_the_selection_writes_no_report(bench: Bench, client: redis.Redis) -> None:
    record, lease = bench.scanned(range(6))
    overtaken(bench, client, lease)
    with pytest.raises(LeaseLost):
        bench.run(lease)
    assert bench.state(record) is JobState.QUEUED


def test_whoever_lost_the_selection_while_features_vanished_writes_no_report(
    bench: Bench, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, lease = bench.scanned([0, 1, 2])
    replan = bench.selection._ledger.replan

    def too_late(lease: Lease) -> int:
        overtaken(bench, client, lease)
        return replan(lease)

    monkeypatch.setattr(bench.selection._ledger, "replan", too_late)
    assert not bench.run(lease)
    assert (the_job(bench.ledger, record.id).round, bench.state(record)) == (0, JobState.QUEUED)


def test_a_ledger_that_lost_the_failures_gets_no_report_out_of_it(bench: Bench, client: redis.Redis) -> None:
    """They would read as unstable: the job is opened and scanned again instead."""
    record, lease = bench.scanned([1, 2, 3, 4, 5], failed=[0])
    bench.ledger.forget(record.id)
    with pytest.raises(LeaseLost):
        bench.run(lease)
    assert bench.state(record) is JobState.QUEUED


def test_other_weights_put_the_selection_off(bench: Bench) -> None:
    _, lease = bench.scanned(range(6))
    ModelCards.open(bench.config).publish(CARD.model_copy(update={"fingerprint": "f2"}))
    with pytest.raises(NotNow):
        bench.run(lease)


def test_a_cancelled_job_stays_cancelled(bench: Bench) -> None:
    record, lease = bench.scanned(range(6))
    bench.catalog.finish(record.id, JobState.CANCELLED)
    assert bench.run(lease)
    assert bench.state(record) is JobState.CANCELLED
