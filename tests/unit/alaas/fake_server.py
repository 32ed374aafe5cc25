"""A server of a few lines behind httpx.MockTransport: keeps what it is sent, and fails when a test tells it to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx

Answer = httpx.Response
WHEN = "2026-01-01T00:00:00Z"


def problem(status: int, code: str, detail: str, field: str | None = None, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, "field": field}
    return Answer(status, json=body, headers={"content-type": "application/problem+json", **headers})


class FakeServer:
    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.faults: list[Callable[[], Answer]] = []  # answers to give before the true ones
        self.datasets: dict[str, list[str]] = {}
        self.labels: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.readable = False
        self.modality = "vision"
        self.largest_upload = 10_000
        self.jobs: dict[str, dict[str, Any]] = {}
        self.looks_until_done = 2
        self.end: dict[str, Any] = {"state": "succeeded"}
        self.failed: list[dict[str, str]] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    def sent(self, method: str, path: str) -> list[httpx.Request]:
        return [r for r in self.requests if r.method == method and r.url.path == path]

    def __call__(self, request: httpx.Request) -> Answer:
        request.read()
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)()
        path = request.url.path.removeprefix("/v1/").split("/")
        route: Callable[[httpx.Request, list[str]], Answer]
        route = getattr(self, f"_{request.method.lower()}_{path[0].strip('/')}")
        return route(request, path[1:])

    def _post_datasets(self, request: httpx.Request, rest: list[str]) -> Answer:
        if not rest:
            name = json.loads(request.content)["name"]
            created = name not in self.datasets
            self.datasets.setdefault(name, [])
            return Answer(201 if created else 200, json=self._dataset(name))
        uris = self.datasets[rest[0].removeprefix("id-")]
        if rest[1] == "labels":
            self.labels |= json.loads(request.content)["labels"]
            return Answer(200, json={"labelled": len(self.labels)})
        new = [json.loads(line) for line in request.content.splitlines()]
        added = list(dict.fromkeys(uri for uri in new if uri not in uris))
        uris += added
        return Answer(200, json={"received": len(new), "added": len(added), "duplicates": len(new) - len(added)})

    def _get_datasets(self, request: httpx.Request, rest: list[str]) -> Answer:
        if not rest:
            names = [n for n in self.datasets if request.url.params.get("name") in (None, n)]
            start = int(request.url.params.get("after", 0))  # pages of two
            following = str(start + 2) if start + 2 < len(names) else None
            items = [self._dataset(name) for name in names[start : start + 2]]
            return Answer(200, json={"items": items, "next": following, "new_key": 1})
        name = rest[0].removeprefix("id-")
        if name not in self.datasets:
            return problem(404, "not_found", "no such dataset")
        return Answer(200, json=self._dataset(name))

    def _dataset(self, name: str) -> dict[str, Any]:
        count = len(self.datasets[name])
        return {"id": f"id-{name}", "name": name, "owner": "local", "modality": self.modality, "tags": {},
                "created": WHEN, "samples": count, "labelled": len(self.labels)}  # fmt: skip

    def _post_jobs(self, request: httpx.Request, rest: list[str]) -> Answer:
        if rest:
            self.end = {"state": "cancelled"}
            return Answer(200, json=self._job(self.jobs[rest[0]] | self.end))
        asked = json.loads(request.content) | {"id": f"job{len(self.jobs)}", "looks": 0}
        self.jobs[asked["id"]] = asked
        return Answer(202, json=self._job(asked))

    def _get_jobs(self, request: httpx.Request, rest: list[str]) -> Answer:
        if not rest:
            found = [self._job(asked) for asked in self.jobs.values()]
            state = request.url.params.get("state")
            return Answer(200, json={"items": [job for job in found if state in (None, job["state"])], "next": None})
        asked = self.jobs[rest[0]]
        if rest[1:] == ["report"]:
            return Answer(200, json=self._report(asked))
        asked["looks"] += 1
        return Answer(200, json=self._job(asked | (self.end if asked["looks"] > self.looks_until_done else {})))

    def _uris(self, asked: dict[str, Any]) -> list[str]:
        return asked.get("uris") or self.datasets[str(asked["dataset_id"]).removeprefix("id-")]

    def _job(self, asked: dict[str, Any]) -> dict[str, Any]:
        total = len(self._uris(asked))
        stages = {s: {"done": min(total, asked["looks"]), "total": total} for s in ("download", "inference")}
        return {"id": asked["id"], "kind": asked["kind"], "state": asked.get("state", "running"), "owner": "local",
                "dataset_id": asked.get("dataset_id", "anonymous"), "model": "resnet18", "strategy": None,
                "budget": asked.get("budget"), "seed": asked["seed"], "created": WHEN, "error": asked.get("error"),
                "progress": {"total": total, "cached": 0, "failed": 0, "stages": stages}}  # fmt: skip

    def _report(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The last URIs first, so that the order is the report's and not the pool's."""
        uris = self._uris(asked)[::-1][: asked["budget"]]
        chosen = [{"rank": i + 1, "id": f"s{i}", "uri": uri, "score": 1.0 - i / 10} for i, uri in enumerate(uris)]
        return {"kind": "query", "model": "resnet18", "fingerprint": "f", "strategy": {"type": "X"}, "seed": 0,
                "budget": asked["budget"], "pool": len(self._uris(asked)), "duplicates": 0, "selected": chosen,
                "failed": self.failed}  # fmt: skip

    def _post_files(self, request: httpx.Request, rest: list[str]) -> Answer:
        files = json.loads(request.content)["files"]
        return Answer(200, json={"readable": [self.readable for _ in files]})

    def _post_uploads(self, request: httpx.Request, rest: list[str]) -> Answer:
        hashes = json.loads(request.content)["sha256"]
        return Answer(200, json={"missing": [sha for sha in hashes if sha not in self.uploads]})

    def _put_uploads(self, request: httpx.Request, rest: list[str]) -> Answer:
        if len(request.content) > self.largest_upload:
            return problem(413, "too_large", "larger than one sample may be")
        assert hashlib.sha256(request.content).hexdigest() == rest[0]
        self.uploads[rest[0]] = request.content
        return Answer(201, json={})

    def _get_(self, request: httpx.Request, rest: list[str]) -> Answer:
        return Answer(503, json={"detail": "no inference worker"})

    _get_readyz = _get_

    def _get_strategies(self, request: httpx.Request, rest: list[str]) -> Answer:
        card = {"name": "RandomSampling", "summary": "By lot.", "needs": [], "parameters": {}}
        return Answer(200, json={"items": [card], "next": None})

    def _get_models(self, request: httpx.Request, rest: list[str]) -> Answer:
        card = {"name": "resnet18", "modality": "vision", "classes": 1000, "error": "the file is corrupt"}
        return Answer(200, json={"items": [card], "next": None})

    def _get_config(self, request: httpx.Request, rest: list[str]) -> Answer:
        return Answer(200, json={"default_strategy": {"type": "LeastConfidence"}})
