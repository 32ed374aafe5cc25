"""The application on a real catalog (SQLite) and a real ledger (Redis), asked through Flask's test client."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from alaas.config import Config, parse_config
from alaas.jobs import Chosen, JobState, Report
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from api.app import create_app

TOKENS = {"ann": "ann-secret-token", "bob": "bob-secret-token"}
Submit = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> dict[str, Any]:
    """The configuration in the full format; a test changes it before it asks for `client`."""
    (tmp_path / "pool").mkdir()
    return {
        "broker": {"url": redis_url},
        "storage": {"data_dir": str(tmp_path / "data")},
        "sources": {"file": {"roots": [str(tmp_path / "pool")]}},
        "models": {"tiny": {"source": "null"}, "other": {"source": "null"}},
        "api": {"max_body_bytes": 8192, "max_line_bytes": 256, "max_upload_bytes": 2048, "max_active_jobs": 3},
    }


@pytest.fixture
def with_tokens(settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Turn tokens on; the headers of each owner."""
    settings["api"]["tokens"] = [
        {"owner": owner, "sha256": sha256(token.encode()).hexdigest()} for owner, token in TOKENS.items()
    ]
    return {owner: {"Authorization": f"Bearer {token}"} for owner, token in TOKENS.items()}


@pytest.fixture
def config(settings: dict[str, Any]) -> Config:
    return parse_config(settings)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog, so that not every test migrates one."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.sqlite"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def catalog(config: Config, migrated: Path) -> Iterator[Catalog]:
    folder = config.storage.data_dir
    folder.mkdir()
    shutil.copy(migrated, folder)
    with Catalog.open(config.catalog_url) as opened:
        yield opened


@pytest.fixture
def app(config: Config, catalog: Catalog) -> Flask:
    return create_app(config, catalog, Ledger.open(config), ModelCards.open(config))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def submit(client: FlaskClient) -> Submit:
    """Submit a query over three files; returns the job's id."""

    def send(**changes: Any) -> str:
        body = {"uris": ["file:///a", "file:///b", "file:///c"], "budget": 2} | changes
        answer = client.post("/v1/jobs", json={name: value for name, value in body.items() if value is not None})
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["id"])

    return send


@pytest.fixture
def succeed(catalog: Catalog) -> Callable[[str], Report]:
    """Do what the fleet would: finish the job with a report."""

    def finish(job_id: str) -> Report:
        pool = catalog.pool(job_id)
        record = catalog.get_job(job_id)
        chosen = [
            Chosen(rank=rank, id=sample.id, uri=sample.uri, score=1.0 / (rank + 1))
            for rank, sample in enumerate(pool[: record.budget])
        ]
        report = Report(
            kind=record.kind, model=record.model, fingerprint="f", strategy=record.strategy, budget=record.budget,
            seed=record.seed, pool=len(pool), duplicates=record.duplicates, selected=chosen, failed=[],
        )  # fmt: skip
        assert catalog.finish(job_id, JobState.SUCCEEDED, report=report)
        return report

    return finish
