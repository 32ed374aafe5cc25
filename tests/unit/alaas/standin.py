"""Processes that stand in for the fleet's: an API that is ready after a while, and workers that do nothing.

Run as a program, it serves that fleet as `Server(...).start()` does, for tests that send signals.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from alaas import Server, fleet
from alaas.commands import child_environment
from alaas.config import Config
from alaas.process import Command

WORKER = "import time; print('ready', flush=True); time.sleep(600)"
API = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
import yaml
config = yaml.safe_load(open(os.environ["ALAAS_CONFIG"]))
checks, ready_after = json.loads(sys.argv[1]), time.monotonic() + 0.3
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        waiting = {"download": {"ok": False, "detail": "0 processes alive"}} if time.monotonic() < ready_after else {}
        failing = {**checks, **waiting}
        body = json.dumps({"ready": not failing, "checks": failing}).encode()
        self.send_response(503 if failing else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer((config["api"]["host"], config["api"]["port"]), Handler).serve_forever()
"""


def commands(worker: str = WORKER, checks: dict[str, Any] | None = None) -> Any:
    """Stands for alaas.commands.commands_for."""

    def commands_for(config: Config, config_path: Path) -> list[Command]:
        def command(name: str, *arguments: str) -> Command:
            environment = child_environment(os.environ, config_path, 1)
            return Command(name, [sys.executable, "-P", "-c", *arguments], environment, Path.cwd())

        return [command("api", API, json.dumps(checks or {})), command("download", worker)]

    return commands_for


def use(monkeypatch: pytest.MonkeyPatch, worker: str = WORKER, checks: dict[str, Any] | None = None) -> None:
    monkeypatch.setattr(fleet, "commands_for", commands(worker, checks))


if __name__ == "__main__":
    setattr(fleet, "commands_for", commands())  # noqa: B010 - for mypy it is not the module's own
    Server(port=0, data_dir=sys.argv[1]).start(timeout_s=30)
