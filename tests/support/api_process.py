"""The API as a user starts it, as a process of its own, on a free port of loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]


class ApiProcess:
    """`settings`: the configuration in the full format. The port is set here."""

    def __init__(self, folder: Path, settings: dict[str, Any], cwd: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._cwd = folder, cwd or folder
        settings = settings | {"api": {**settings.get("api", {}), "port": self.port}}
        (folder / "alaas.yml").write_text(yaml.safe_dump(settings))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self._folder / "api.log").read_text()

    def start(self) -> ApiProcess:
        environment = os.environ | {"ALAAS_CONFIG": str(self._folder / "alaas.yml"), "PYTHONPATH": str(ROOT)}
        with (self._folder / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "api"], cwd=self._cwd, env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False)
                return self
            except httpx.TransportError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(self.log[-2000:]) from None
                time.sleep(0.05)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=10, trust_env=False, **options)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> ApiProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
