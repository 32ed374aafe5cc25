"""Bring your own scores over real HTTP: the client, curl's form, the command line, and processes that die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from alaas import Client
from alaas.errors import InvalidRequest, TooLarge, TooManyRequests
from alaas.selections import SelectAnswer
from tests.support.api_process import ApiProcess
from tests.support.docs import blocks
from tests.support.pool_files import a_heavy_pool, a_pool, probabilities
from tests.support.redis_server import RedisServer

HEAVY: dict[str, Any] = {"strategy": "KCenterSampling", "budget": 30_000}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    folder = tmp_path_factory.mktemp("api")
    with RedisServer(folder / "redis") as redis_server:
        settings = {
            "broker": {"url": redis_server.url},
            "storage": {"data_dir": str(folder / "data")},
            "models": {"tiny": {"source": "null"}},
            "strategies": {"paths": ["examples.my_strategy:RareClassFirst", "tests.support.failing_strategy:Failing"]},
            "api": {"threads": 4, "max_selections": 1, "max_select_bytes": 64 * 1024 * 1024},
        }
        with ApiProcess(folder, settings) as process:
            yield process


@pytest.fixture
def client(api: ApiProcess) -> Iterator[Client]:
    with Client(api.url, progress=False) as client:
        yield client


def selecting(api: ApiProcess) -> list[psutil.Process]:
    assert api.process is not None
    children = psutil.Process(api.process.pid).children(recursive=True)
    return [child for child in children if "api.selecting" in child.cmdline()]


def wait_until(claim: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_arrays_go_up_and_the_answer_is_that_of_a_selection_here(client: Client, tmp_path: Path) -> None:
    ids = [f"s{number}" for number in range(20)]
    answer = client.select(probabilities=probabilities(20), ids=ids, strategy="MarginConfidence", budget=5, seed=1)
    (tmp_path / "pool").write_bytes(a_pool())
    command = ["select", "pool", "-b", "5", "--strategy", "MarginConfidence", "--seed", "1", "--json"]
    here, there = (alaas(tmp_path, *command, *more) for more in ([], ["--server", client.url]))
    assert SelectAnswer.model_validate_json(here) == answer
    assert here == there


def alaas(folder: Path, *arguments: str) -> str:
    program = "from alaas.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_strategy_of_the_operators_own_can_be_named(client: Client) -> None:
    answer = client.select(probabilities=probabilities(20), strategy="RareClassFirst", budget=2)
    assert answer.strategy["type"] == "RareClassFirst" and len(answer.selected) == 2


def test_a_strategy_with_a_bug_is_blamed_for_it_and_not_the_file(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="the strategy failed with ZeroDivisionError") as caught:
        client.select(probabilities=probabilities(20), strategy="Failing", budget=2)
    assert caught.value.field == "strategy"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_call_by_curl_in_the_docs_works(api: ApiProcess, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", blocks("bring-your-own-scores.md", "python")[0]], cwd=tmp_path, check=True)
    call = blocks("bring-your-own-scores.md", "sh")[0].replace("http://127.0.0.1:8888", api.url)
    ran = subprocess.run(["/bin/sh", "-c", call], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert len(json.loads(ran.stdout)["selected"]) == 20


def test_the_client_in_the_docs_works(api: ApiProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, _, code = blocks("bring-your-own-scores.md", "python")
    names: dict[str, object] = {}
    exec(first, names)  # our own page
    exec(code.replace("localhost:8888", api.url), names)
    assert isinstance(names["answer"], SelectAnswer) and len(names["answer"].selected) == 20
    assert isinstance(names["client"], Client)
    names["client"].close()


def test_a_file_over_the_cap_is_too_large(client: Client) -> None:
    with pytest.raises(TooLarge):
        client.select(embeddings=np.zeros((1, 10_000_000)), strategy="KCenterSampling", budget=1)


def test_while_one_selects_another_is_429_and_the_rest_of_the_api_answers(
    api: ApiProcess, client: Client, tmp_path: Path
) -> None:
    heavy = tmp_path / "heavy.npz"
    heavy.write_bytes(a_heavy_pool())
    first = threading.Thread(target=lambda: _ignored(lambda: client.select(heavy, **HEAVY)))
    first.start()
    wait_until(lambda: selecting(api))
    client_now = Client(api.url)
    client_now._http._sleep = lambda _: None
    with client_now, pytest.raises(TooManyRequests):
        client_now.select(probabilities=probabilities(3), strategy="EntropySampling", budget=1)
    started = time.monotonic()
    assert client.config()["limits"]["max_select_bytes"] == 64 * 1024 * 1024
    assert time.monotonic() - started < 5
    os.kill(selecting(api)[0].pid, signal.SIGKILL)
    first.join(30)
    assert not first.is_alive() and selecting(api) == []


def _ignored(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:
        print(error)


def test_a_selection_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "heavy.npz").write_bytes(a_heavy_pool())
    program = "from alaas.cli import main; main()"
    arguments = ["select", "heavy.npz", "-b", "30000", "--strategy", "KCenterSampling"]
    parent = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=tmp_path)
    wait_until(lambda: psutil.Process(parent.pid).children())
    child = psutil.Process(parent.pid).children()[0]
    wait_until(lambda: child.cpu_times().user > 1)
    parent.kill()
    parent.wait()
    child.wait(10)


def test_a_server_that_is_stopped_in_a_selection_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "heavy.npz").write_bytes(a_heavy_pool())
    settings = {
        "broker": {"url": "redis://127.0.0.1:1/0"}, "storage": {"data_dir": str(tmp_path / "data")},
        "models": {"tiny": {"source": "null"}},
    }  # fmt: skip
    with ApiProcess(tmp_path, settings) as api:
        client = Client(api.url)
        client._http._sleep = lambda _: None
        asking = threading.Thread(target=lambda: _ignored(lambda: client.select(tmp_path / "heavy.npz", **HEAVY)))
        asking.start()
        wait_until(lambda: selecting(api))
        left = selecting(api)
        assert api.stop() == 0
        asking.join(30)
        client.close()
        assert not psutil.wait_procs(left, timeout=5)[1]
    assert {path.name.partition(".")[0] for path in (tmp_path / "data").iterdir()} == {"catalog"}
