"""The paper's YAML with docker on the machine: a container of Triton is started, serves the model, and is stopped.

A script stands in for docker: it starts a real Triton server as the command line asks docker to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from alaas import Client
from tests.support import images
from tests.support.redis_server import free_port
from tests.support.triton_server import start_script
from tests.support.users import Started, running_below

YAML = """\
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "LeastConfidence"
    infer_model:
      type: torch_hub
      hub_name: "{hub}"
      model: "resnet18"
      batch_size: 4
      transform: {{resize: 32, crop: 32}}
      instance_group:
        - count: 1
          kind: KIND_CPU
  al_server:
    url: "localhost:{port}"
    worker:
      type: docker
      docker_repo: "nvcr.io/nvidia/tritonserver"
      tag: "22.03-pyt-python-py3"
"""
HUBCONF = """\
dependencies = ["torch"]

def resnet18(pretrained=False, progress=True, **kwargs):
    import torch
    from torch import nn
    torch.manual_seed(12)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
"""
DOCKER = """\
#!{python}
import json, os, sys
asked = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(asked) + "\\n")
if asked[0] == "run":
    port = asked[asked.index("--publish") + 1].split(":")[1]
    models = asked[asked.index("--volume") + 1].split(":")[0]
    options = {{"grpc-address": "127.0.0.1", "grpc-port": port, "allow-http": "false", "allow-metrics": "false"}}
    given = [f"--{{name}}={{value}}" for name, value in (options | {{"model-repository": models}}).items()]
    os.execv({start!r}, [{start!r}, *given])
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_papers_worker_is_started_serves_the_model_and_is_stopped(tmp_path: Path) -> None:
    hub, pool, tools, log = (tmp_path / name for name in ("hub", "pool", "bin", "asked"))
    for folder in (hub, pool, tools):
        folder.mkdir()
    (hub / "hubconf.py").write_text(HUBCONF)
    docker = tools / "docker"
    docker.write_text(DOCKER.format(python=sys.executable, log=str(log), start=str(start_script())))
    docker.chmod(0o755)
    for number in range(12):
        (pool / f"{number}.jpg").write_bytes(images.jpeg(40, 36, seed=number))
    port, api = free_port(), free_port()
    config = tmp_path / "example.yml"
    config.write_text(YAML.format(hub=hub, port=port))

    alaas = str(Path(sys.executable).with_name("alaas"))
    command = [alaas, "serve", str(config), "--port", str(api)]
    with Started(command, tmp_path, PATH=f"{tools}:/usr/bin:/bin") as server:
        server.wait_for(f"ALaaS is ready on http://127.0.0.1:{api}", 300)
        with Client(f"127.0.0.1:{api}", progress=False) as client:
            client.push_data([str(path) for path in sorted(pool.iterdir())])
            assert len(client.query(budget=3)) == 3
            (card,) = client.models()
        assert card.device == "triton"
        assert httpx.get(f"http://127.0.0.1:{api}/readyz").json()["checks"]["triton"]["ok"]
        server.interrupt()
        assert server.wait() == 0
        said = server.output
    assert running_below(tmp_path) == []
    (run,) = [asked for asked in map(json.loads, log.read_text().splitlines()) if asked[0] == "run"]
    assert run[run.index("--publish") + 1] == f"127.0.0.1:{port}:8001"
    assert "nvcr.io/nvidia/tritonserver:22.03-pyt-python-py3" in run
    assert f"docker {' '.join(run)}" in said and "torch) computes" not in said
