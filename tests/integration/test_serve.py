"""`alaas serve` and `alaas worker` as a person starts them: the true fleet, driven from the command line only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.support.redis_server import free_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
ALAAS = [sys.executable, "-P", "-c", "from alaas.cli import main; main(prog_name='alaas')"]


class Shell:
    """Runs `alaas ...` in a folder, against a server on `port`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALAAS_")}
        self.env = inherited | {"PYTHONPATH": str(ROOT), "ALAAS_SERVER": f"localhost:{self.port}"}

    def run(self, *arguments: str) -> str:
        ran = subprocess.run([*ALAAS, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        log = (self.folder / "log").open("a")
        with log:
            return subprocess.Popen(
                [*ALAAS, *arguments], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True
            )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "config.yml").write_text('models: {m: {source: "null"}}')
    (tmp_path / "api").mkdir()  # A user's own package of that name must not stand for ours.
    (tmp_path / "api" / "__main__.py").write_text("raise SystemExit('the wrong one')")
    return Shell(tmp_path)


@pytest.fixture
def served(shell: Shell) -> Iterator[psutil.Process]:
    with shell.start("serve", "config.yml", "--port", str(shell.port)) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "Ctrl-C stops it" in line:
                    break
            else:
                pytest.fail((shell.folder / "log").read_text()[-3000:])
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def workers(shell: Shell, stage: str) -> int:
    checks = httpx.get(f"http://localhost:{shell.port}/readyz", trust_env=False).json()["checks"]
    return int(checks[stage]["detail"].split()[0])


def test_the_whole_life_of_a_fleet_from_the_shell(shell: Shell, served: psutil.Process) -> None:
    pool = shell.folder / "pool"
    pool.mkdir()
    for number in range(40):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(pool / f"{number:02}.png")
    assert "succeeded" in shell.run("push", "pool", "--dataset", "mine")
    first = shell.run("query", "pool", "-b", "5", "--plain").splitlines()
    assert len(set(first)) == 5 and all((shell.folder / path).is_file() for path in first)

    with shell.start("worker", "download", "-c", "2") as joined:
        wait_for(lambda: workers(shell, "download") == 2)
        joined.terminate()
    wait_for(lambda: workers(shell, "download") == 1)

    [worker] = [process for process in served.children() if process.cmdline()[-3:-2] == ["preprocess"]]
    worker.send_signal(signal.SIGKILL)
    again = shell.run("query", "pool", "-b", "5", "--json")
    assert [chosen["uri"] for chosen in json.loads(again)["selected"]] == first

    inside = served.children(recursive=True)
    served.send_signal(signal.SIGINT)
    served.wait(40)
    assert not [process for process in inside if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert "preprocess   | died (SIGKILL)" in (shell.folder / "log").read_text()
