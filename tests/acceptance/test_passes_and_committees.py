"""Strategies that need more of the models than one pass: dropout's passes, gradients, committees, labels.

Two fleets that cut, batch and share the work differently give the same reports, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alaas.client import Client, Selected
from alaas.config import load_config
from alaas.config.sources import SourcesConfig
from alaas.errors import InvalidRequest, ModelError
from alaas.jobs import SCAN_STAGES, Feature, Report
from alaas_workers.backends import open_backend
from alaas_workers.models import transform_for
from tests.support import images, tiny_models
from tests.support.fleets import Rig, write_config
from tests.support.tiny_models import DropNet, saved, seeded

POOL, LABELLED, BUDGET, PASSES = 45, 6, 12, 6
CODE = str(Path(tiny_models.__file__))

QUERIES: dict[str, dict[str, Any]] = {
    "BALD": {"strategy": "BayesianDisagreement", "model": "drop"},
    "BatchBALD": {"strategy": "BatchBALD", "model": "drop"},
    "DeepFool": {"strategy": "DeepFool", "model": "drop"},
    "committee": {"strategy": "QueryByCommittee", "model": ["plain", "drop", "wide"]},
    "BALD of a committee": {"strategy": "BayesianDisagreement", "model": ["drop", "wide"]},
    "BatchBALD of a committee": {"strategy": "BatchBALD", "model": ["null", "other null"]},
    "labels": {"strategy": "ExpectedErrorReduction", "model": "plain"},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pool")
    for number in range(POOL):
        (folder / f"{number}.jpg").write_bytes(images.jpeg(*[(12, 10), (40, 30)][number % 2], seed=number))
    return [(folder / f"{number}.jpg").as_uri() for number in range(POOL)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        saved(DropNet(), folder / "drop.pt")
    saved(seeded(1), folder / "plain.pt")
    saved(seeded(2, width=16), folder / "wide.pt")
    return folder


def config_of(folder: Path, weights: Path, pool: list[str], batch_size: int, **sections: Any) -> Path:
    def model(name: str, builder: str, side: int = 16, **own: Any) -> dict[str, Any]:
        path, transform = str(weights / f"{name}.pt"), {"resize": side, "crop": side}
        settings = {"source": "file", "path": path, "builder": f"{CODE}:{builder}", "transform": transform}
        return settings | {"batch_size": batch_size} | own

    of_files = {
        "drop": model("drop", "DropNet", passes=PASSES),
        "plain": model("plain", "TinyNet"),
        "wide": model("wide", "TinyNet", 24, kwargs={"width": 16}),
    }
    of_nothing = {name: {"source": "null", "passes": PASSES} for name in ("null", "other null")}
    root = str(Path(pool[0].removeprefix("file://")).parent)
    sources = {"file": {"roots": [root]}}
    return write_config(folder, models=of_files | of_nothing, sources=sources, **sections)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, weights: Path, pool: list[str]) -> Iterator[Rig]:
    with Rig(config_of(tmp_path_factory.mktemp("fleet"), weights, pool, 32)) as rig:
        yield rig


@pytest.fixture(scope="module")
def client(rig: Rig) -> Iterator[Client]:
    with rig.client() as client:
        yield client


def asked(client: Client, dataset: str, query: dict[str, Any]) -> Selected:
    return client.query(BUDGET, dataset=dataset, **query)


def pushed(client: Client, pool: list[str]) -> str:
    """The pool with a few labels, without a scan: queries compute what they need."""
    dataset = client.create_dataset("pool")
    client.push_samples(dataset, pool)
    client.add_labels(dataset, {uri: ["cat", "dog", "ape"][at % 3] for at, uri in enumerate(pool[:LABELLED])})
    return dataset.id


@pytest.fixture(scope="module")
def selected(client: Client, pool: list[str]) -> dict[str, Selected]:
    dataset = pushed(client, pool)
    return {name: asked(client, dataset, query) for name, query in QUERIES.items()}


def features_of(rig: Rig, name: str, pool: list[str], wanted: list[Feature]) -> dict[Feature, Any]:
    """What the model computes here, in this process, of the pool's files."""
    config = load_config(rig.config_path)
    transform = transform_for(name, config.models[name])
    files = [Path(uri.removeprefix("file://")).read_bytes() for uri in pool]
    backend = open_backend(name, config)
    try:
        return dict(
            backend.infer([transform.preprocess(data, SourcesConfig()) for data in files], wanted, lambda: None)
        )
    finally:
        backend.close()


def assert_best_of(expected: Any, unlabelled: list[str], chosen: Selected) -> None:
    """The chosen are those with the highest expected scores, in order."""
    order = np.argsort(-expected, kind="stable")[:BUDGET]
    assert list(chosen) == [unlabelled[at] for at in order]
    assert chosen.scores == pytest.approx(expected[order], abs=1e-6)


@pytest.mark.timeout(300)
def test_bald_ranks_by_the_passes_of_the_model(selected: dict[str, Selected], rig: Rig, pool: list[str]) -> None:
    sums = features_of(rig, "drop", pool[LABELLED:], [Feature.PASS_SUMS])[Feature.PASS_SUMS].astype(float)
    mean = sums[:, :-1]
    expected = -(mean * np.log(mean)).sum(axis=1) - sums[:, -1]
    assert expected.max() > 1e-3
    assert_best_of(expected, pool[LABELLED:], selected["BALD"])


@pytest.mark.timeout(300)
def test_deep_fool_ranks_by_the_distance_to_the_boundary(
    selected: dict[str, Selected], rig: Rig, pool: list[str]
) -> None:
    rows = features_of(rig, "drop", pool[LABELLED:], [Feature.BOUNDARY_DISTANCES])[Feature.BOUNDARY_DISTANCES][:, 0]
    order = np.argsort(rows, kind="stable")[:BUDGET]
    assert list(selected["DeepFool"]) == [pool[LABELLED + at] for at in order]


@pytest.mark.timeout(300)
def test_a_committee_is_fetched_once_and_its_members_are_known_afterwards(
    rig: Rig, client: Client, pool: list[str]
) -> None:
    def scanned() -> list[int]:
        samples = rig.metrics().samples
        return [samples.get(stage.value, 0) for stage in SCAN_STAGES]

    rig.forget_features()
    dataset = client.create_dataset("of a committee")
    client.push_samples(dataset, pool)
    before = scanned()
    chosen = client.query(BUDGET, dataset=dataset, strategy="QueryByCommittee", model=["plain", "wide", "drop"])
    assert [now - then for now, then in zip(scanned(), before, strict=True)] == [POOL] * 3
    assert chosen.report.model == ["plain", "wide", "drop"] and len(set(chosen.report.fingerprint)) == 3
    before = scanned()
    for model in ("plain", "wide", "drop"):
        client.query(BUDGET, dataset=dataset, strategy="LeastConfidence", model=model)
    client.query(BUDGET, dataset=dataset, strategy="QueryByCommittee", model=["drop", "wide"])
    assert scanned() == before


@pytest.mark.timeout(300)
def test_what_a_model_cannot_give_is_refused_with_a_way_out(
    selected: dict[str, Selected], client: Client, pool: list[str]
) -> None:
    with pytest.raises(ModelError, match="no dropout layers; take a committee of models or another strategy"):
        client.query_by_uri(pool, BUDGET, strategy="BayesianDisagreement", model="plain")
    with pytest.raises(ModelError, match="'plain' gives 5 and 'null' gives 10"):
        client.query_by_uri(pool, BUDGET, strategy="QueryByCommittee", model=["plain", "null"])
    with pytest.raises(InvalidRequest, match="two models or more"):
        client.query_by_uri(pool, BUDGET, strategy="QueryByCommittee", model="plain")
    lacking = {card.name: sorted(card.lacking) for card in client.models()}["drop"]
    assert lacking == [Feature.BOX_SCORES, Feature.LABEL_PROBABILITIES]  # its scores are of classes


@pytest.mark.timeout(400)
def test_other_chunks_batches_and_workers_give_the_same_reports(
    selected: dict[str, Selected], tmp_path: Path, weights: Path, pool: list[str]
) -> None:
    config = config_of(tmp_path, weights, pool, 8, pipeline={"chunk_size": 7}, workers={"inference": {"processes": 2}})
    with Rig(config) as other, other.client() as client:
        dataset = pushed(client, pool)
        for name, query in QUERIES.items():
            report: Report = asked(client, dataset, query).report
            assert report.model_dump_json() == selected[name].report.model_dump_json(), name
            assert len(report.selected) == BUDGET and report.failed == []
