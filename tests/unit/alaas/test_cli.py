from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from alaas import Client, errors
from alaas.cli import main, options
from alaas.cli.app import exit_code
from tests.unit.alaas.fake_server import FakeServer, problem

URLS = ["https://host/1.png", "https://host/2.png", "https://host/3.png"]
Run = Callable[..., Result]


@pytest.fixture
def run(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `alaas ...` against the fake server, in a folder of its own."""
    for name in [name for name in os.environ if name.startswith("ALAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "Client", partial(Client, transport=server.transport))

    def run(*arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=text)

    return run


def test_push_tells_the_pool_and_the_scan(run: Run) -> None:
    result = run("push", *URLS, "--dataset", "mine")
    assert result.output == "dataset mine (3 samples, 0 labelled)\nscan    job0 succeeded\n"


def test_push_need_not_wait(run: Run) -> None:
    assert json.loads(run("push", *URLS, "--no-wait", "--json").stdout)["job"]["state"] == "running"


def test_push_takes_folders_of_images_and_lists(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.readable = True
    for name in ("b.PNG", "a.jpg", "notes.txt", "inner/c.png"):
        (tmp_path / "pool" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pool" / name).write_bytes(b"x")
    assert run("push", "pool", "--from", "-", "--dataset", "mine", text=f"{URLS[0]}\n\n{URLS[1]}\n").exit_code == 0
    found = [tmp_path / "pool" / name for name in ("a.jpg", "b.PNG", "inner/c.png")]
    assert server.datasets["mine"] == [*(path.as_uri() for path in found), *URLS[:2]]


def test_a_folder_without_images_is_told(run: Run, tmp_path: Path) -> None:
    result = run("push", str(tmp_path))
    assert (result.exit_code, result.stderr) == (2, f"alaas: uris: the folder {tmp_path} holds no images\n")


def test_query_prints_rank_score_and_uri(run: Run) -> None:
    lines = run("query", *URLS, "-b", "2").stdout.splitlines()
    assert [line.split() for line in lines] == [["RANK", "SCORE", "URI"], ["1", "1", URLS[2]], ["2", "0.9", URLS[1]]]


def test_query_of_a_pool_by_name_can_print_uris_only(run: Run) -> None:
    run("push", *URLS, "--dataset", "mine")
    assert run("query", "--dataset", "mine", "-b", "1", "--plain").stdout == f"{URLS[2]}\n"


def test_query_as_json_is_the_report(run: Run) -> None:
    report = json.loads(run("query", *URLS, "-b", "1", "--json").stdout)
    assert report["job"] == "job0" and report["selected"][0]["uri"] == URLS[2]


def test_what_was_left_out_is_told_beside_the_answer(run: Run, server: FakeServer) -> None:
    server.failed = [{"id": "a", "uri": "u", "code": "not_found"}] * 2
    result = run("query", *URLS, "-b", "1", "--plain")
    assert result.stdout == f"{URLS[2]}\n"
    assert "left out: 2 not_found" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "strategy"),
    [
        (["--strategy", "RandomSampling"], "RandomSampling"),
        (["--strategy", "X", "-p", "k=3", "-p", "metric=cosine"], {"type": "X", "k": 3, "metric": "cosine"}),
        (["-p", "k=3"], {"type": "LeastConfidence", "k": 3}),
    ],
)
def test_a_strategy_may_have_parameters(run: Run, server: FakeServer, arguments: list[str], strategy: object) -> None:
    assert run("query", *URLS, "-b", "1", *arguments).exit_code == 0
    assert json.loads(server.sent("POST", "/v1/jobs")[0].content)["strategy"] == strategy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["query", "-b", "1"], "give either URIS"),
        (["query", *URLS, "-b", "1", "--dataset", "mine"], "give either URIS"),
        (["query", *URLS], "Missing option"),
        (["query", *URLS, "-b", "many"], "not a valid integer"),
        (["query", *URLS, "-b", "0"], "alaas: budget: a budget is a whole number of at least 1"),
        (["query", *URLS, "-b", "1", "-p", "k"], "write NAME=VALUE"),
        (["push"], "there is nothing to push"),
        (["worker", "oven"], "is not one of"),
        (["config", "check", "none.yml"], "alaas: cannot read none.yml: No such file or directory"),
        (["jobs", "--server", "ftp://x"], "is not a server's address"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(run: Run, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and words in result.stderr
    assert "Traceback" not in result.output


def test_a_server_that_is_away_is_exit_code_3(run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.faults = [refuse] * 5
    result = run("jobs", "--server", "host:1")
    assert (result.exit_code, result.stderr) == (3, "alaas: nobody answers at http://host:1\n")


def test_a_refusal_of_the_server_is_exit_code_1(run: Run, server: FakeServer) -> None:
    server.faults = [lambda: problem(401, "unauthorized", "a valid bearer token is needed")]
    result = run("datasets")
    assert (result.exit_code, result.stderr) == (1, "alaas: a valid bearer token is needed\n")


def test_every_error_has_an_exit_code() -> None:
    given = [errors.ConfigError("x"), errors.TooLarge("x"), errors.Unavailable("x"), errors.Timeout("x")]
    assert [exit_code(error) for error in [*given, errors.JobFailed("x")]] == [2, 2, 3, 3, 1]


def test_server_and_token_may_come_from_the_environment(
    run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALAAS_SERVER", "https://far:9")
    monkeypatch.setenv("ALAAS_TOKEN", "word")
    run("datasets")
    assert str(server.requests[0].url.copy_with(query=None)) == "https://far:9/v1/datasets"
    assert server.requests[0].headers["authorization"] == "Bearer word"


def test_jobs_are_listed_shown_cancelled_and_reported(run: Run, server: FakeServer) -> None:
    run("query", *URLS, "-b", "1")
    assert run("jobs").output == run("jobs", "list").output
    assert "job0  query  running" in run("jobs", "--state", "running").output
    assert "state        succeeded" in run("jobs", "show", "job0", "--wait").output
    assert URLS[2] in run("jobs", "report", "job0").output
    assert json.loads(run("jobs", "report", "job0", "--json").stdout)["pool"] == 3
    assert run("jobs", "cancel", "job0").output == "job0 cancelled\n"


def test_what_the_server_holds_is_listed(run: Run) -> None:
    run("push", *URLS, "--dataset", "mine")
    assert "id-mine  3        0         2026-01-01 00:00:00+00:00  mine" in run("datasets").output
    assert "RandomSampling  -      -           By lot." in run("strategies").output
    assert run("models").output.splitlines()[1].split(None, 7)[::7] == ["resnet18", "the file is corrupt"]
    for command in ("datasets", "strategies", "models"):
        assert len(json.loads(run(command, "--json").stdout)) == 1


def test_a_configuration_is_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("strategy: {type: MarginConfidence}")
    assert run("config", "check", "a.yml").output == "a.yml is right: MarginConfidence on resnet18\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("api: {prot: 3}", "alaas: api.prot: unknown key 'prot'; nearest known: 'port'\n"),
        ("strategy: {type: MarginConfidance}", "MarginConfidence"),
        ("strategy: {type: LeastConfidence, tepmerature: 1}", "alaas: strategy.tepmerature"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_told(run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yml").write_text(text)
    result = run("config", "check", "a.yml")
    assert result.exit_code == 2 and words in result.stderr


def test_the_effective_configuration_is_shown_without_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALAAS_BROKER__URL", "redis://:hunter2@host/0")
    shown = run("config", "show").stdout
    assert "hunter2" not in shown and yaml.safe_load(shown)["api"]["port"] == 8888
    assert json.loads(run("config", "show", "--json").stdout) == yaml.safe_load(shown)


def test_a_token_comes_with_the_lines_that_let_it_in(run: Run) -> None:
    output = run("token", "alice").stdout
    word = output.splitlines()[2].strip()
    [entry] = yaml.safe_load(output[output.index("api:") :])["api"]["tokens"]
    assert entry == {"owner": "alice", "sha256": hashlib.sha256(word.encode()).hexdigest()}
    assert len(word) >= 43


def test_a_worker_joins_the_fleet_of_the_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("os.execve", lambda *call: calls.append(call))
    path = tmp_path / ".alaas" / "run" / "effective.yml"
    path.parent.mkdir(parents=True)
    path.write_text("broker: {url: redis://one/0}\ncache: {url: redis://two/0}")
    assert run("worker", "download", "-c", "8").exit_code == 0
    [(program, arguments, environment)] = calls
    assert arguments == [program, "-P", "-m", "alaas_workers.worker", "download", "--concurrency", "8"]
    assert environment["ALAAS_CONFIG"] == str(path)


def test_a_worker_may_have_its_fleet_from_the_environment_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("os.execve", lambda *call: calls.append(call))
    monkeypatch.setenv("ALAAS_BROKER__URL", "redis://one/0")
    monkeypatch.setenv("ALAAS_CACHE__URL", "redis://two/0")
    assert run("worker", "inference").exit_code == 0
    assert calls[0][2]["ALAAS_BROKER__URL"] == "redis://one/0"


def test_a_worker_without_a_fleet_says_what_to_do(run: Run) -> None:
    result = run("worker", "download")
    assert result.exit_code == 2 and "start `alaas serve` here first, or give broker.url" in result.stderr


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_in_the_docs_and_has_help(run: Run, command: str) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text("utf-8")
    assert f"alaas {command}" in page
    assert run(command, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("given", "sent"),
    [([], None), (["--model", "a"], "a"), (["--model", "a", "--model", "b"], ["a", "b"])],
)
def test_a_model_that_is_named_more_than_once_is_a_committee(
    run: Run, server: FakeServer, given: list[str], sent: object
) -> None:
    assert run("query", *URLS, "-b", "2", *given).exit_code == 0
    bodies = [json.loads(request.content) for request in server.sent("POST", "/v1/jobs")]
    assert bodies[-1].get("model") == sent
