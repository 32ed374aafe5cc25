"""The snapshot rule against a model in plain Python: whatever happens later, a job's pool stays what it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alaas.errors import InvalidRequest
from alaas.jobs import Dataset, SamplesAdded
from alaas_workers.catalog import Catalog
from tests.support.catalogs import MANY, OWNER, new_job

uris = st.lists(st.sampled_from([f"uri-{number}" for number in range(25)]), max_size=12)


class Snapshots(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.catalog = Catalog.open(f"sqlite:///{Path(self.folder.name) / 'catalog.sqlite'}")
        self.dataset_id = self.catalog.create_dataset(OWNER, "cats")[0].id
        self.order: list[str] = []
        self.labels: dict[str, str] = {}
        self.repeated = 0
        self.jobs: dict[str, tuple[list[str], list[str], int]] = {}

    def teardown(self) -> None:
        self.catalog.close()
        self.folder.cleanup()

    @rule(pushed=uris)
    def push(self, pushed: list[str]) -> None:
        added = self.catalog.add_samples(OWNER, self.dataset_id, pushed, MANY)
        fresh = list(dict.fromkeys(uri for uri in pushed if uri not in self.order))
        self.repeated += sum(uri in fresh for uri in pushed) - len(fresh)
        self.order += fresh
        expected = SamplesAdded(received=len(pushed), added=len(fresh), duplicates=len(pushed) - len(fresh))
        assert added == expected

    @rule(chosen=uris, label=st.sampled_from("ab"))
    def label(self, chosen: list[str], label: str) -> None:
        given = {uri: label for uri in chosen if uri in self.order}
        assert self.catalog.add_labels(OWNER, self.dataset_id, given) == len(given)
        self.labels |= given

    @rule()
    def submit(self) -> None:
        pool = [uri for uri in self.order if uri not in self.labels]
        try:
            job = new_job(self.catalog, dataset_id=self.dataset_id)
        except InvalidRequest:
            assert pool == []
            return
        assert job.unlabelled == len(pool)
        self.jobs[job.id] = (pool, [uri for uri in self.order if uri in self.labels], self.repeated)

    @invariant()
    def jobs_keep_their_pools(self) -> None:
        for job_id, (pool, labelled, repeated) in self.jobs.items():
            assert [sample.uri for sample in self.catalog.pool(job_id)] == pool
            assert [sample.uri for sample in self.catalog.labelled(job_id)] == labelled
            assert self.catalog.get_job(job_id).duplicates == repeated

    @invariant()
    def the_dataset_counts_what_it_holds(self) -> None:
        dataset: Dataset = self.catalog.get_dataset(OWNER, self.dataset_id)
        assert (dataset.samples, dataset.labelled) == (len(self.order), len(self.labels))


TestSnapshots = Snapshots.TestCase
TestSnapshots.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
