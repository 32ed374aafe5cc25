"""The paper's Figure 3 and the published package's README, word for word, as a user would run them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support import images
from tests.support.users import Started, run_script, running_below
from tests.support.web_server import WebServer, answer

FIGURE_3_YAML = """\
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "LeastConfidence"
    infer_model:
      type: torch_hub
      hub_name: "pytorch/vision:release/0.12"
      model: "resnet18"
      batch_size: 4
      instance_group:
        - count: 1
          kind: KIND_GPU
  al_server:
    url: "localhost:8900"
    worker:
      type: docker
      docker_repo: "nvcr.io/nvidia/tritonserver"
      tag: "22.03-pyt-python-py3"
"""
FIGURE_3_SERVER = """\
from alaas import Server
al_server = Server(config_path="example.yml")
al_server.start()
"""
FIGURE_3_CLIENT = """\
from alaas import Client
al_client = Client(al_server_url="localhost:8888")
al_client.push_data(data_list, asynchronous=False)
selected_data_list = al_client.query(budget=10)
"""

PUBLISHED_YAML = """\
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "LeastConfidence"
    model:
      name: "resnet18"
      hub: "pytorch/vision:v0.10.0"
      batch_size: 1
      device: "cpu"
  al_worker:
    protocol: "http"
    host: "0.0.0.0"
    port: 60035
    replicas: 1
"""
PUBLISHED_CLIENT = """\
from alaas.client import Client
client = Client("http://localhost:60035")
selected = client.query_by_uri(url_list, budget=3)
"""

# What torch.hub keeps of a repository after its first use, so that these tests need no network.
HUBCONF = """\
dependencies = ["torch"]

def resnet18(pretrained=False, progress=True, **kwargs):
    import torch
    import torchvision
    torch.manual_seed(12)
    return torchvision.models.resnet18(weights=None, **kwargs)
"""
POOL = 24


def hub_folder(folder: Path) -> Path:
    for repository in ("pytorch_vision_release_0.12", "pytorch_vision_v0.10.0"):
        copy = folder / repository
        copy.mkdir(parents=True)
        (copy / "hubconf.py").write_text(HUBCONF)
    return folder


def skip_if_taken(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            pytest.skip(f"port {port}, which the paper's or the published code names, is taken on this machine")


def write_images(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:02d}.jpg" for number in range(POOL)]
    for number, path in enumerate(paths):
        path.write_bytes(images.jpeg(48, 40, seed=number))
    return paths


def start_server(folder: Path, config: str) -> Started:
    (folder / "example.yml").write_text(config)
    (folder / "server.py").write_text(FIGURE_3_SERVER)
    hub = hub_folder(folder / "hub")
    return Started([sys.executable, "server.py"], folder, ALAAS_TORCH_HUB__DIR=str(hub))


@dataclass(frozen=True)
class Ran:
    """What a whole session at the keyboard left behind."""

    server_said: str
    exit_status: int
    running_before_ctrl_c: list[str]
    running_after: list[str]
    client_said: str


@pytest.fixture(scope="module")
def figure_3(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Server script, client script, Ctrl-C."""
    skip_if_taken(8888)
    folder = tmp_path_factory.mktemp("figure-3")
    paths = write_images(folder / "pool")
    listed = f"data_list = {[str(path) for path in paths]!r}\n"
    (folder / "client.py").write_text(
        f"{listed}{FIGURE_3_CLIENT}import json\nprint('selected', json.dumps(selected_data_list))\n"
    )
    with start_server(folder, FIGURE_3_YAML) as server:
        server.wait_for("ALaaS is ready on http://127.0.0.1:8888")
        said = run_script(folder / "client.py")
        before = running_below(folder)
        server.interrupt()
        status = server.wait()
        return Ran(server.output, status, before, running_below(folder), said)


def test_the_papers_client_code_selects_ten_of_what_was_pushed(figure_3: Ran) -> None:
    (line,) = [line for line in figure_3.client_said.splitlines() if line.startswith("selected ")]
    selected = json.loads(line.removeprefix("selected "))
    assert len(selected) == len(set(selected)) == 10
    assert all(Path(path).suffix == ".jpg" and Path(path).is_file() for path in selected)


def test_the_papers_yaml_gives_rise_to_one_warning_each_on_the_gpu_and_on_triton(figure_3: Ran) -> None:
    said = figure_3.server_said.splitlines()
    assert len([line for line in said if "KIND_GPU" in line and "CPU" in line]) == 1, figure_3.server_said
    assert len([line for line in said if "localhost:8900" in line and "torch" in line]) == 1, figure_3.server_said


def test_the_papers_server_script_ends_on_ctrl_c_and_leaves_nothing_running(figure_3: Ran) -> None:
    assert len(figure_3.running_before_ctrl_c) >= 9, figure_3.running_before_ctrl_c
    assert figure_3.running_after == []
    assert figure_3.exit_status == 0, figure_3.server_said[-2000:]
    assert "Traceback" not in figure_3.server_said


@dataclass(frozen=True)
class Published:
    folder: Path
    server: Started
    urls: list[str]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """A server by the published package's YAML, and images over HTTP."""
    skip_if_taken(60035)
    folder = tmp_path_factory.mktemp("published")
    paths = write_images(folder / "pool")
    with WebServer({f"/{path.name}": answer(path.read_bytes()) for path in paths}) as web:
        with start_server(folder, PUBLISHED_YAML) as server:
            server.wait_for("ALaaS is ready on http://127.0.0.1:60035")
            yield Published(folder, server, [web.uri(f"/{path.name}") for path in paths])
            server.interrupt()
            assert server.wait() == 0
    assert running_below(folder) == []


def test_the_published_host_without_tokens_becomes_loopback_with_a_warning(published: Published) -> None:
    warnings = [line for line in published.server.output.splitlines() if "0.0.0.0" in line]
    assert any("127.0.0.1" in line and "tokens" in line for line in warnings), published.server.output[:2000]


def test_the_published_query_by_uri_runs_as_it_stands(published: Published) -> None:
    script = published.folder / "by_uri.py"
    script.write_text(f"url_list = {published.urls!r}\n{PUBLISHED_CLIENT}print('selected', *selected)\n")
    selected = run_script(script).splitlines()[-1].split()[1:]
    assert len(selected) == 3 and set(selected) < set(published.urls)


def test_the_published_query_by_images_sends_files_and_returns_paths(published: Published) -> None:
    paths = sorted(str(path) for path in (published.folder / "pool").iterdir())
    script = published.folder / "by_images.py"
    call = "client.query_by_images(paths, budget=3)"
    text = PUBLISHED_CLIENT.replace("client.query_by_uri(url_list, budget=3)", call)
    script.write_text(f"paths = {paths!r}\n{text}print('selected', *selected)\n")
    selected = run_script(script).splitlines()[-1].split()[1:]
    assert len(selected) == 3 and set(selected) < set(paths)


def test_the_published_query_by_text_says_that_its_only_model_takes_images(published: Published) -> None:
    script = published.folder / "by_text.py"
    text = PUBLISHED_CLIENT.replace("query_by_uri(url_list,", "query_by_text(['a text'],")
    script.write_text(text)
    with Started([sys.executable, script.name], script.parent) as started:
        assert started.wait() == 1
        assert "ModelError: the model 'resnet18' takes vision, and the samples are text" in started.output


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_the_published_curl_call_runs_as_it_stands(published: Published, host: str) -> None:
    """The published README has curl call 0.0.0.0, which reaches this machine as localhost does."""
    body = {"data": [{"uri": uri} for uri in published.urls], "parameters": {"budget": 3}, "execEndpoint": "/query"}
    answered = json.loads(post(f"http://{host}:60035/post", json.dumps(body)))
    selected = [document["uri"] for document in answered["data"]]
    assert len(selected) == 3 and set(selected) < set(published.urls)
    assert answered["parameters"] == {"budget": 3}
    assert {name for document in answered["data"] for name in document["scores"]} == {"LeastConfidence"}


def post(url: str, body: str) -> str:
    """By curl, which is what the published README shows, where it is installed."""
    header = "Content-Type: application/json"
    if shutil.which("curl") is None:
        return httpx.post(url, content=body, headers=dict([header.split(": ")]), timeout=60, trust_env=False).text
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "-X", "POST", url, "-H", header, "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout
