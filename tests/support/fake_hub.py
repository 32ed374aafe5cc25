"""A HuggingFace hub of one repository on loopback: what huggingface_hub asks for, and nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

REPO, COMMIT = "owner/tiny", "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        self.asked.append(path)
        if path == f"/api/models/{REPO}/revision/{COMMIT}":
            self._send(json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode(), with_body)
        elif path == f"/api/models/{REPO}/tree/{COMMIT}":
            files = sorted(each for each in self.folder.rglob("*") if each.is_file())
            self._send(json.dumps([self._entry(file) for file in files]).encode(), with_body)
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            self._send((self.folder / path.split("/", 5)[5]).read_bytes(), with_body)
        else:
            self.send_error(404)

    def _entry(self, file: Path) -> dict[str, object]:
        data = file.read_bytes()
        path = file.relative_to(self.folder).as_posix()
        return {"type": "file", "path": path, "size": len(data), "oid": sha256(data).hexdigest()[:40]}

    def _send(self, data: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{sha256(data).hexdigest()[:40]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextmanager
def hub_of(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that were asked for."""
    asked: list[str] = []
    serve = type("HubOfFolder", (Hub,), {"folder": folder, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """What HF_ENDPOINT and HF_HOME do for a process that starts with them."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
