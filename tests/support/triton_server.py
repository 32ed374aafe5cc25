"""A real Triton Inference Server on a model repository of the test's, as `make test` unpacked it (.ci/make-triton)."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.redis_server import free_port

_ROOT = Path(__file__).resolve().parents[2]
_MADE = _ROOT / ".venv-triton"
_START_S = 120.0


def require_triton() -> None:
    """Skip where there is no server, with the reason why not."""
    if not (_MADE / "start").exists():
        why = _MADE / "why-not"
        pytest.skip(f"no Triton server: {why.read_text().strip() if why.exists() else 'make test brings one'}")


def start_script() -> Path:
    """Starts the server with the arguments that it is given, as `tritonserver` on PATH would be."""
    require_triton()
    return _MADE / "start"


class TritonServer:
    """`repository`: a folder with a folder for each model. `explicit`: models are loaded when they are asked for.

    `with_alaas`: ALaaS and its tests are installed in the Python of its models, which otherwise has torch alone.
    """

    def __init__(self, repository: Path, *, explicit: bool = False, with_alaas: bool = False) -> None:
        self.repository = repository
        self.http_port, self.grpc_port = free_port(), free_port()
        self._explicit = explicit
        self._folder = _ROOT if with_alaas else repository.parent  # which models import from, PYTHONPATH or not
        self._process: subprocess.Popen[bytes] | None = None
        self._memory = f"alaas-test-{secrets.token_hex(6)}"
        self._log = repository.parent / f"{repository.name}.log"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> TritonServer:
        start = start_script()
        arguments = {
            "model-repository": self.repository,
            "http-address": "127.0.0.1",
            "http-port": self.http_port,
            "grpc-address": "127.0.0.1",
            "grpc-port": self.grpc_port,
            "allow-metrics": "false",
            "strict-readiness": "false",
            "exit-on-error": "false",
            "exit-timeout-secs": 2,
            "backend-config": f"python,shm-region-prefix-name={self._memory}",
            "model-control-mode": "explicit" if self._explicit else "none",
        }
        command = [str(start), *(f"--{name}={value}" for name, value in arguments.items())]
        environment = {"HOME": str(self.repository.parent), "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()
        return self

    def kill(self) -> None:
        """SIGKILL of the server and of the processes of its models, which live in its group."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def load(self, *models: str) -> None:
        """Load models at once, or load them again from changed files."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self._load, models))

    def _load(self, model: str) -> None:
        httpx.post(f"{self.http}/v2/repository/models/{model}/load", json={}, timeout=60).raise_for_status()

    def unload(self, model: str) -> None:
        """Returns when it is gone, which is a moment after Triton has said so."""
        httpx.post(f"{self.http}/v2/repository/models/{model}/unload", json={}, timeout=60).raise_for_status()
        deadline = time.monotonic() + 30
        while httpx.get(f"{self.http}/v2/models/{model}/ready", timeout=5).is_success:
            assert time.monotonic() < deadline, f"{model} is still served"
            time.sleep(0.02)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()  # a polite end takes seconds

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what the models' processes would leave behind
        except ProcessLookupError:
            pass
        process.wait()
        for left in Path("/dev/shm").glob(f"{self._memory}*"):
            left.unlink(missing_ok=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.http}/v2/health/ready", timeout=5).is_success:
                    return
            except httpx.HTTPError:
                pass
            assert self._process is not None and self._process.poll() is None, f"Triton ended:\n{self.log()[-3000:]}"
            time.sleep(0.1)
        raise AssertionError(f"Triton is not ready:\n{self.log()[-3000:]}")
