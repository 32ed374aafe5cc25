"""Real fleets that choose by a strategy of the operator's own, under a batch policy, and explain what they chose."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from alaas import Client
from alaas.jobs import Report
from alaas_workers.catalog import sample_id
from alaas_workers.choosing import source_of
from tests.support import images
from tests.support.fleets import Rig, write_config
from tests.support.web_server import Request, WebServer, answer

FOLDERS, IN_EACH, BUDGET = 8, 6, 12
POLICY: dict[str, Any] = {"max_per_source": 2, "min_distance": 0.5, "random_share": 0.25}
QUERIES: dict[str, dict[str, Any]] = {
    "own": {"strategy": {"type": "RareClassFirst", "power": 2}, "policy": POLICY | {"max_per_class": 3}},
    "default": {},
    "centers": {"strategy": "KCenterSampling", "policy": POLICY},
}
FLEETS: dict[str, dict[str, Any]] = {
    "small chunks": {"pipeline": {"chunk_size": 5}, "workers": {"inference": {"processes": 2, "concurrency": 1}}},
    "one chunk": {},
}


@dataclass(frozen=True)
class Answers:
    """Reports as bytes, by query, of each fleet; `pool` and `labelled` are URIs."""

    reports: dict[str, dict[str, bytes]]
    names: list[str]
    pool: list[str]
    labelled: list[str]

    def report(self, query: str) -> Report:
        return Report.model_validate_json(self.reports["one chunk"][query])


def serve_its_own_image(request: Request) -> None:
    """Another at each path, so that embeddings differ."""
    request.send(answer(images.jpeg(40, 30, seed=zlib.crc32(request.path.encode()))))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    reports, names = dict[str, dict[str, bytes]](), list[str]()
    with WebServer({"*": serve_its_own_image}) as web:
        paths = [f"/{folder}/{number}.jpg" for folder in range(FOLDERS) for number in range(IN_EACH)]
        pool = [web.uri(path) for path in paths]
        excluded, labelled = pool[5], pool[-3:]
        for fleet, sections in FLEETS.items():
            config = write_config(
                tmp_path_factory.mktemp("fleet"),
                models={"null": {"source": "null", "batch_size": 7 if sections else 16}},
                strategies={"paths": ["examples.my_strategy:RareClassFirst"]},
                strategy={"type": "RareClassFirst"},
                policy={"exclude": [excluded]},
                **sections,
            )
            with Rig(config) as rig, rig.client() as client:
                names = [card.name for card in client.strategies()]
                reports[fleet] = asked(client, pool, labelled, excluded)
        yield Answers(reports, names, pool, labelled)


def asked(client: Client, pool: list[str], labelled: list[str], excluded: str) -> dict[str, bytes]:
    client.push_data(pool, dataset="pool")
    client.label(dict.fromkeys(labelled, "cat"))
    found = {}
    for name, options in QUERIES.items():
        job = client.query(BUDGET, seed=3, **options).job
        found[name] = httpx.get(f"{client.url}/v1/jobs/{job.id}/report", timeout=30).content
    return found


pytestmark = pytest.mark.timeout(300)


def test_a_strategy_that_the_configuration_names_is_listed_and_chosen_by(answers: Answers) -> None:
    assert "RareClassFirst" in answers.names
    report = answers.report("own")
    assert report.strategy == {"type": "RareClassFirst", "power": 2.0}
    assert len(report.selected) == BUDGET and report.warnings == []


def test_the_rules_are_kept(answers: Answers) -> None:
    for query in ("own", "centers"):
        report = answers.report(query)
        assert report.policy is not None and report.policy["max_per_source"] == 2
        by_choice = [one for one in report.selected if one.drawn == "strategy"]
        assert len(by_choice) == BUDGET - 3
        sources = Counter(source_of(one.uri) for one in report.selected)
        assert all(sources[source_of(one.uri)] <= 2 for one in by_choice)
        assert all(one.nearest is None or one.nearest.distance >= 0.5 for one in by_choice)


def test_the_random_share_is_the_same_whatever_the_strategy(answers: Answers) -> None:
    drawn = [
        [one.id for one in answers.report(query).selected if one.drawn == "random"] for query in ("own", "centers")
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3


def test_the_configurations_policy_holds_where_a_query_gives_none(answers: Answers) -> None:
    report = answers.report("default")
    assert report.policy is not None and report.policy["exclude"] == [sample_id(answers.pool[5])]
    assert sample_id(answers.pool[5]) not in {one.id for one in report.selected}


def test_choices_are_explained(answers: Answers) -> None:
    report = answers.report("centers")
    assert sum(one.stands_for or 0 for one in report.selected) == report.pool == len(answers.pool) - 3
    for one in report.selected:
        assert one.nearest is not None  # three samples are labelled
        before = [c.uri for c in report.selected if c.rank < one.rank or c.drawn == "random"]
        known = answers.labelled if one.nearest.kind == "labelled" else before
        assert one.nearest.uri in known
    first = report.selected[0]
    assert first.parts == {"distance": first.score}
    assert first.nearest is not None and first.nearest.distance == first.score


def test_reports_are_the_same_byte_for_byte_whatever_chunks_batches_and_workers(answers: Answers) -> None:
    assert answers.reports["small chunks"] == answers.reports["one chunk"]
