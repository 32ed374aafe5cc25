"""`Client.select` and what it sends; `alaas select` on this machine, by a real child process."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from alaas import Client, selection_process
from alaas.cli import main
from alaas.cli.app import exit_code
from alaas.errors import InvalidRequest, SelectionFailed, TooLarge
from alaas.problems import as_error
from alaas.select_form import write_npz
from alaas.selections import SelectAnswer, SelectRequest, SelectTask
from strategies.pool_files import PoolLimits, read_pool
from tests.support.pool_files import a_heavy_pool, a_pool, probabilities

ANSWER = {
    "strategy": {"type": "LeastConfidence"}, "policy": {}, "budget": 1, "seed": 0, "pool": 2, "warnings": [],
    "selected": [{"rank": 1, "id": "a", "score": 0.5}],
}  # fmt: skip


class Server:
    """Keeps what it was sent, and answers each request with the next of `answers`."""

    def __init__(self) -> None:
        self.forms: list[tuple[dict[str, Any], bytes]] = []
        self.timeouts: list[Any] = []
        self.answers = [httpx.Response(200, json=ANSWER)]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        assert int(headers["content-length"]) == len(request.content)
        builder = EnvironBuilder(method="POST", input_stream=io.BytesIO(request.content), headers=list(headers.items()))
        with Request(builder.get_environ()) as read:
            self.forms.append((json.loads(read.form["request"]), read.files["file"].read()))
        self.timeouts.append(request.extensions["timeout"]["read"])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Any:
    with Client("http://server:1", transport=httpx.MockTransport(server)) as client:
        client._http._sleep = lambda _: None
        yield client


def held(file: bytes) -> Any:
    return read_pool(io.BytesIO(file), PoolLimits(1000, 10**9))


def test_arrays_travel_as_npz_with_their_ids(client: Client, server: Server) -> None:
    rows = probabilities(2)
    answer = client.select(probabilities=rows, ids=["a", "b"], budget=1, strategy="EntropySampling", seed=3)
    asked, file = server.forms[0]
    assert asked == {"budget": 1, "strategy": "EntropySampling", "seed": 3}
    assert held(file).ids == ["a", "b"]
    assert held(file).features["probabilities"].tolist() == rows.tolist()
    assert isinstance(answer, SelectAnswer) and (answer.ids, answer.scores) == (["a"], [0.5])


def test_rows_without_ids_are_numbered(client: Client, server: Server) -> None:
    client.select(embeddings=[[1.0], [2.0]], labelled_embeddings=np.zeros((5, 1)), budget=1)
    assert held(server.forms[0][1]).ids == ["0", "1"]


def test_a_file_travels_as_it_is(client: Client, server: Server, tmp_path: Path) -> None:
    (tmp_path / "pool.npz").write_bytes(a_pool())
    strategy, policy = {"type": "EntropySampling"}, {"max_per_class": 2}
    client.select(tmp_path / "pool.npz", budget=2, strategy=strategy, policy=policy)
    asked, file = server.forms[0]
    assert file == a_pool()
    assert asked["strategy"] == strategy and asked["policy"]["max_per_class"] == 2


def test_the_file_is_sent_again_from_its_start(client: Client, server: Server, tmp_path: Path) -> None:
    server.answers.insert(0, httpx.Response(429, json={"code": "too_many_requests"}, headers=PROBLEM))
    (tmp_path / "pool").write_bytes(a_pool())
    client.select(tmp_path / "pool", budget=2)
    assert [file for _, file in server.forms] == [a_pool()] * 2


PROBLEM = {"content-type": "application/problem+json", "retry-after": "1"}


def test_it_waits_longer_than_the_servers_own_limits(client: Client, server: Server) -> None:
    client.select(embeddings=[[1.0]], budget=1)
    client.select(embeddings=[[1.0]], budget=1, timeout_s=5)
    assert server.timeouts == [600.0, 5]


def test_ids_take_little_room_however_long_one_is() -> None:
    file = io.BytesIO()
    write_npz(file, ["a" * 4000, *map(str, range(999))], {"embeddings": np.zeros((1000, 1))})
    assert len(file.getvalue()) < 200_000
    assert read_pool(file, PoolLimits(1000, 10**9)).ids[0] == "a" * 4000


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "path"),
        ({"path": "x", "embeddings": [[1.0]]}, "path"),
        ({"path": "no-such-file"}, "path"),
        ({"embeddings": [[1.0]], "budget": 0}, "budget"),
        ({"embeddings": [[1.0]], "seed": -1}, "seed"),
        ({"embeddings": [["x"], [object()]]}, "embeddings"),
        ({"embeddings": 1.0}, "embeddings"),
        ({"embeddings": [[1.0]], "ids": [1.5]}, "ids.0"),
        ({"embeddings": [[1.0]], "ids": [None]}, "ids.0"),
        ({"embeddings": [[1.0]], "policy": {"max_per_clas": 1}}, "policy.max_per_clas"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused_before_anything_is_sent(
    client: Client, server: Server, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.select(**({"budget": 1} | asked))
    assert caught.value.field == field
    assert server.forms == []


def test_without_numpy_a_file_still_travels_and_arrays_say_what_lacks(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["numpy"] = None
from alaas import Client, errors
try:
    Client("localhost:1").select(embeddings=[[1.0]], budget=1)
except errors.ConfigError as error:
    print(error.detail)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "pip install numpy" in ran.stdout, ran.stderr


def test_the_servers_failure_comes_back_as_its_own_error() -> None:
    assert isinstance(as_error(422, {"code": "selection_failed", "detail": "d"}), SelectionFailed)
    assert exit_code(SelectionFailed("d")) == 1


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.npz").write_bytes(a_pool())
    return "pool.npz"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["select", *arguments])


def test_the_command_selects_here_and_writes_a_table(pool: str) -> None:
    result = run(pool, "-b", "2", "--strategy", "EntropySampling")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["RANK", "1", "2"]


def test_the_command_writes_csv_with_the_parts_of_scores(pool: str, tmp_path: Path) -> None:
    result = run(pool, "-b", "2", "--strategy", "MarginConfidence", "-o", "chosen.csv", "--max-per-class", "1")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "chosen.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert rows[0]["predicted_class"] != rows[1]["predicted_class"]


def test_the_command_writes_json_that_is_the_servers_answer(pool: str, tmp_path: Path) -> None:
    assert run(pool, "-b", "2", "--strategy", "EntropySampling", "-o", "chosen.json", "--seed", "4").exit_code == 0
    answer = SelectAnswer.model_validate_json((tmp_path / "chosen.json").read_text())
    assert (answer.seed, len(answer.selected)) == (4, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pool.npz", "-b", "1"], "name a --strategy"),
        (["no.npz", "-b", "1", "--strategy", "EntropySampling"], "cannot be read"),
        (["pool.npz", "-b", "0", "--strategy", "EntropySampling"], "alaas: budget: "),
        (["pool.npz", "-b", "1", "--strategy", "EntropySamplin"], "nearest known: 'EntropySampling'"),
        (["pool.npz", "-b", "1", "--strategy", "KCenterSampling"], "needs embeddings"),
        (["pool.npz", "-b", "1", "--strategy", "EntropySampling", "-o", "x.txt"], ".csv or .json"),
        (["pool.npz", "-b", "1", "--strategy", "EntropySampling", "-o", "no/x.csv"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(pool: str, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_selection_here_can_be_given_a_time(pool: str, tmp_path: Path) -> None:
    (tmp_path / "heavy.npz").write_bytes(a_heavy_pool(20_000))
    result = run("heavy.npz", "-b", "20000", "--strategy", "KCenterSampling", "--timeout", "2")
    assert (result.exit_code, "longer than 2 s" in result.stderr) == (1, True)


def test_a_bare_client_says_what_to_install(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alaas.local_selection._NEEDED", ("no_such_package",))
    result = run(pool, "-b", "1", "--strategy", "EntropySampling")
    assert result.exit_code == 2 and "alaas[server]" in result.stderr


def task(file: Any, answer: Any, **limits: int) -> SelectTask:
    request = SelectRequest(strategy="KCenterSampling", budget=1)
    given = {"file": file.fileno(), "answer": answer.fileno(), "max_rows": 10**6, "max_bytes": 10**12} | limits
    return SelectTask.model_validate({"request": request, **given})


def test_more_memory_than_allowed_is_told_and_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, ids=np.arange(100), embeddings=np.zeros((100, 1_000_000), dtype=np.float32))
    with file.open("rb") as opened, (tmp_path / "answer").open("w+b") as answer:
        with pytest.raises(TooLarge, match="more memory than is allowed"):
            selection_process.select_apart(task(opened, answer, max_memory_bytes=300_000_000), 60, threads=1)


def test_a_process_that_cannot_start_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_process, "PROGRAM", "no_such_program")
    with (tmp_path / "file").open("w+b") as file, (tmp_path / "answer").open("w+b") as answer:
        with pytest.raises(SelectionFailed, match="exit 1"):
            selection_process.select_apart(task(file, answer), 60)
