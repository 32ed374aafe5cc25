"""schemathesis, with all its checks, against the API as a process: the server does what its description says."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.support.api_process import ApiProcess
from tests.support.redis_server import RedisServer

CHECKS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", "503"]  # 503: POST /post waits for a fleet that is not there

[checks.positive_data_acceptance]
# 422: what no schema can say, such as a budget above the pool or a scheme that nobody reads; 413: caps in bytes
expected-statuses = ["2xx", "401", "404", "409", "413", "422", "429", "503"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "413", "414", "415", "422"]
"""


def test_the_server_keeps_to_its_own_description_whatever_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CHECKS)
    with RedisServer(tmp_path / "redis") as redis_server:
        token = {"owner": "ann", "sha256": sha256(b"secret").hexdigest()}
        settings = {
            "broker": {"url": redis_server.url},
            "storage": {"data_dir": str(tmp_path / "data")},
            "models": {"tiny": {"source": "null"}},
            "api": {"max_active_jobs": 10_000, "post_wait_s": 0.05, "tokens": [token]},
        }
        with ApiProcess(tmp_path, settings) as api:
            fuzzed = fuzz(api.url, tmp_path)
            assert fuzzed.returncode == 0, fuzzed.stdout[-8000:]
            assert "Traceback" not in api.log


def fuzz(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"),
        "run", f"{url}/openapi.json", "--header", "Authorization: Bearer secret", "--checks", "all",
        "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "8", "--seed", "20261122",
        "--continue-on-failure", "--request-timeout", "10",
        "--exclude-operation-id", "events.job_events",  # It answers when a job ends, and here none does.
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)
