"""Several processes create, migrate and write one catalog at once, as a fleet does when it starts."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from alaas.errors import ConfigError, TooManyRequests
from alaas.jobs import JobState, Progress
from alaas_workers.catalog import Catalog
from alaas_workers.catalog.engine import Database
from alaas_workers.catalog.tables import metadata
from tests.contracts.catalog.conftest import DATABASES
from tests.support.catalog_writer import ROUNDS, SHARED
from tests.support.catalogs import MANY, OWNER, new_dataset, new_job, report, submit, uris

PROCESSES = 4
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a catalog that nobody has opened yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'catalog.sqlite'}"
    url: str = request.getfixturevalue("postgres").create_database()
    return url


def run_writers(url: str) -> list[str]:
    command = [sys.executable, "-m", "tests.support.catalog_writer", url]
    writers = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    ends = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, "".join(err for _, err in ends)
    return [out.strip() for out, _ in ends]


def test_processes_that_start_and_write_at_once_lose_nothing(new_url: str) -> None:
    won = run_writers(new_url)
    with Catalog.open(new_url) as catalog:
        (dataset,), _ = catalog.list_datasets(OWNER)
        assert dataset.tags == {f"from {number}": "x" for number in range(PROCESSES)}
        assert (dataset.samples, dataset.labelled) == (SHARED + 100 * PROCESSES, ROUNDS * PROCESSES)
        listed, _ = catalog.list_samples(OWNER, dataset.id, limit=2000)
        assert len({sample.id for sample in listed}) == len(listed) == dataset.samples
        everything = new_job(catalog, dataset_id=dataset.id, max_active=MANY)
        ordinals = [sample.ordinal for sample in catalog.pool(everything.id) + catalog.labelled(everything.id)]
        assert sorted(ordinals) == list(range(dataset.samples))
        assert won.count("1") == 1
        (shared,), _ = catalog.list_jobs(OWNER, state=JobState.SUCCEEDED)
        assert catalog.report(shared.id) == report(str(won.index("1"))).model_dump_json().encode()
        assert shared.progress == Progress(total=ROUNDS - 1, cached=PROCESSES - 1)
        assert catalog.job_states()["queued"] == PROCESSES * ROUNDS + 1


def test_the_snapshot_of_a_job_holds_all_or_nothing_of_a_call_at_the_same_time(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 401)

    def label(turn: int) -> None:
        catalog.add_labels(OWNER, dataset_id, {uri: "cat" for uri in uris(400)[turn * 20 : turn * 20 + 20]})

    with ThreadPoolExecutor(4) as threads:
        labelling = [threads.submit(label, turn) for turn in range(20)]
        jobs = [new_job(catalog, dataset_id=dataset_id, kind="scan", budget=None) for _ in range(10)]
        for call in labelling:
            call.result()
    for job in jobs:
        had_label = [sample.ordinal for sample in catalog.labelled(job.id)]
        assert len(had_label) % 20 == 0
        assert len(catalog.pool(job.id)) == job.unlabelled == 401 - len(had_label)


def test_the_limit_of_active_jobs_holds_for_calls_at_the_same_time(catalog: Catalog) -> None:
    dataset_id = new_dataset(catalog, 1)

    def accepted(_: int) -> bool:
        try:
            return submit(catalog, dataset_id=dataset_id, max_active=3)[1]
        except TooManyRequests:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(accepted, range(8))).count(True) == 3


def test_one_key_at_the_same_time_makes_one_job(catalog: Catalog) -> None:
    def submitted(_: int) -> tuple[str, bool]:
        job, created = submit(catalog, of=uris(3), idempotency_key="k", request_digest="d")
        return job.id, created

    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(submitted, range(6)))
    assert len({job_id for job_id, _ in made}) == 1
    assert [created for _, created in made].count(True) == 1


def test_the_tables_are_what_the_migrations_make(catalog: Catalog) -> None:
    with catalog._database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_catalog_that_a_newer_release_made_is_refused(new_url: str) -> None:
    Catalog.open(new_url).close()
    database = Database(new_url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="newer") as caught:
        Catalog.open(new_url)
    assert caught.value.field == "catalog.url"


def test_what_was_written_is_there_after_opening_again(new_url: str) -> None:
    with Catalog.open(new_url) as catalog:
        dataset_id = new_dataset(catalog, 3)
    with Catalog.open(new_url) as catalog:
        assert catalog.get_dataset(OWNER, dataset_id).samples == 3
