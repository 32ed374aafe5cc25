"""Batch policies from the client and the command line, and what is printed of a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alaas import Client
from alaas.cli import main, options
from alaas.errors import InvalidRequest
from alaas.jobs import Chosen, Neighbour, Report
from tests.support import images
from tests.unit.alaas.fake_server import FakeServer

URLS = [f"http://host/{number}.jpg" for number in range(3)]
Run = Callable[..., Result]


@pytest.fixture
def run(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(options, "client_of", lambda url, token: client)
    monkeypatch.setattr("alaas.cli.querying.client_of", lambda url, token: client)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def asked(server: FakeServer) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(server.sent("POST", "/v1/jobs")[-1].content)
    return body


def test_a_policy_travels(client: Client, server: FakeServer) -> None:
    client.query_by_uri(URLS, 1, policy={"max_per_class": 2, "random_share": 0.5})
    policy = asked(server)["policy"]
    assert (policy["max_per_class"], policy["random_share"]) == (2, 0.5)


def test_without_one_the_server_decides(client: Client, server: FakeServer) -> None:
    client.query_by_uri(URLS, 1)
    assert asked(server).get("policy") is None
    client.query_by_uri(URLS, 1, policy={})
    assert asked(server)["policy"] is not None


def test_a_rule_that_makes_no_sense_is_refused_before_anything_is_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.submit_job(uris=URLS, budget=1, policy={"random_share": 2})
    assert caught.value.field == "policy.random_share" and not server.requests


def test_excluded_paths_are_named_as_they_were_pushed(client: Client, server: FakeServer, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(images.jpeg(8, 8, seed=number))
    client.push_data(paths)
    pool = next(iter(server.datasets.values()))
    known = "0" * 32
    client.query(1, policy={"exclude": [str(paths[1]), "http://host/x.jpg", known]})
    assert asked(server)["policy"]["exclude"] == [pool[1], "http://host/x.jpg", known]


def test_every_rule_has_an_option(run: Run, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "no.txt").write_text(f"{URLS[0]}\n\n")
    result = run(
        "query", *URLS, "-b", "1", "--min-distance", "0.5", "--max-per-class", "2", "--max-per-source", "3",
        "--random-share", "0.25", "--exclude", "no.txt",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked(server)["policy"] == {
        "min_distance": 0.5, "max_per_class": 2, "max_per_source": 3, "random_share": 0.25, "exclude": [URLS[0]],
    }  # fmt: skip


def test_without_options_there_is_no_policy(run: Run, server: FakeServer) -> None:
    assert run("query", *URLS, "-b", "1").exit_code == 0
    assert asked(server).get("policy") is None


def test_a_report_shows_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    near = Neighbour(id="b", uri="u:b", kind="labelled", distance=2.5)
    chosen = [
        Chosen(rank=1, id="a", uri="u:a", score=0.5, nearest=near, stands_for=7),
        Chosen(rank=2, id="c", uri="u:c", score=0.25, drawn="random", stands_for=3),
    ]
    options.print_chosen(chosen, ["u:a", "u:c"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["RANK", "SCORE", "DRAWN", "NEAREST", "STANDS", "FOR", "URI"]
    assert lines[1].split() == ["1", "0.5", "strategy", "2.5", "labelled", "7", "u:a"]
    assert lines[2].split() == ["2", "0.25", "random", "-", "3", "u:c"]


def test_a_report_from_before_policies_and_explanations_is_read() -> None:
    old = {
        "kind": "query", "model": "m", "fingerprint": "f", "strategy": {"type": "X"}, "budget": 1, "seed": 0, "pool": 2,
        "duplicates": 0, "selected": [{"rank": 1, "id": "a", "uri": "u", "score": 0.5}], "failed": [], "warnings": [],
    }  # fmt: skip
    report = Report.model_validate_json(json.dumps(old))
    [chosen] = report.selected
    assert (report.policy, chosen.drawn, chosen.parts, chosen.nearest) == (None, "strategy", None, None)
