"""docs/triton.md, run as it stands: a model is exported, a real Triton server serves it, and a fleet chooses by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alaas.config import parse_config
from alaas.config.loading import parse_file
from alaas.config.readings import as_full_format
from tests.support import images
from tests.support.docs import blocks
from tests.support.redis_server import free_port
from tests.support.triton_server import start_script
from tests.support.users import Started, alaas_command, running_below

COMMANDS = [line[2:] for block in blocks("triton.md", "console") for line in block.splitlines()]
POINT, _, EXPORT, _ = blocks("triton.md", "yaml")


@pytest.mark.parametrize("text", blocks("triton.md", "yaml"))
def test_its_settings_are_settings(text: str) -> None:
    full, warnings = as_full_format(parse_file(text, "the page"))
    assert parse_config(full) and not warnings


@pytest.mark.timeout(500)
def test_its_commands_export_a_model_serve_it_and_choose_by_it(tmp_path: Path) -> None:
    serve, query, export, tritonserver, docker = COMMANDS
    assert docker.endswith(tritonserver.replace(" repository", "=/models"))  # there is no docker to try it with
    grpc, http, api = free_port(), free_port(), free_port()
    (tmp_path / "models.yml").write_text(EXPORT.replace("IMAGENET1K_V1", "null"))  # weights would be fetched
    (tmp_path / "triton.yml").write_text(POINT.replace("8001", str(grpc)))
    (tmp_path / "photos").mkdir()
    for seed in range(20):
        (tmp_path / "photos" / f"{seed}.jpg").write_bytes(images.jpeg(60, 50, seed=seed))
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "tritonserver").symlink_to(start_script())
    ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--allow-metrics", "false"]
    ran(tmp_path, export)
    with Started(
        [str(tools / "tritonserver"), *tritonserver.split()[1:], *ports], tmp_path, PATH=os.environ["PATH"]
    ) as it:
        it.wait_for("Started HTTPService")
        with Started(alaas_command(*serve.split()[1:], "--port", str(api)), tmp_path) as fleet:
            fleet.wait_for("ALaaS is ready", 300)
            chosen = ran(tmp_path, query, "--server", f"127.0.0.1:{api}", "--plain").split()
            assert len({Path(path).name for path in chosen if path.endswith(".jpg")}) == 10
            fleet.interrupt()
            assert fleet.wait() == 0
    assert running_below(tmp_path) == []


def ran(folder: Path, command: str, *more: str) -> str:
    with Started(alaas_command(*command.split()[1:], *more), folder) as started:
        status = started.wait(300)
        assert status == 0, started.output
        return started.output
