"""Files of the client's machine: read in place only when they are the very same, else sent up and verified."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas.config import Config
from alaas_workers.sources import upload_path

DATA = b"the bytes of an image"
SHA = sha256(DATA).hexdigest()


def put(client: FlaskClient, data: bytes = DATA, sha: str = SHA, **headers: str) -> Any:
    return client.put(f"/v1/uploads/{sha}", data=data, content_type="application/octet-stream", headers=headers)


def leftovers(config: Config) -> list[Path]:
    return [path for path in config.uploads_dir.rglob("*") if path.is_file() and path.name != SHA]


def test_bytes_are_stored_once_under_their_hash(client: FlaskClient, config: Config) -> None:
    assert client.post("/v1/uploads/missing", json={"sha256": [SHA]}).get_json() == {"missing": [SHA]}
    first, again = put(client), put(client)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == {"uri": f"upload://{SHA}", "size_bytes": len(DATA)}
    assert upload_path(config, "local", SHA).read_bytes() == DATA
    assert client.post("/v1/uploads/missing", json={"sha256": [SHA]}).get_json() == {"missing": []}
    assert leftovers(config) == []


def test_bytes_of_another_hash_leave_nothing_behind(client: FlaskClient, config: Config) -> None:
    answer = put(client, b"other bytes")
    assert (answer.status_code, answer.get_json()["field"]) == (422, "sha256")
    assert not upload_path(config, "local", SHA).exists()
    assert leftovers(config) == []


def test_bytes_over_the_cap_leave_nothing_behind(client: FlaskClient, config: Config) -> None:
    data = b"x" * 3000
    assert put(client, data, sha256(data).hexdigest()).status_code == 413
    assert leftovers(config) == []


@pytest.mark.parametrize("sha", ["abc", SHA.upper(), SHA + "0", "g" * 64])
def test_a_hash_that_is_none_is_not_found(client: FlaskClient, sha: str) -> None:
    assert put(client, DATA, sha).status_code == 404


def test_an_upload_of_another_type_is_refused(client: FlaskClient) -> None:
    assert client.put(f"/v1/uploads/{SHA}", data=DATA, content_type="text/plain").status_code == 415


def test_each_owner_has_uploads_of_their_own(with_tokens: dict[str, dict[str, str]], client: FlaskClient) -> None:
    assert put(client, DATA, SHA, **with_tokens["ann"]).status_code == 201
    answer = client.post("/v1/uploads/missing", json={"sha256": [SHA]}, headers=with_tokens["bob"])
    assert answer.get_json() == {"missing": [SHA]}


def test_a_storage_that_cannot_be_written_is_503_and_keeps_its_path_to_itself(
    client: FlaskClient, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config.uploads_dir.parent.mkdir(parents=True, exist_ok=True)
    config.uploads_dir.write_text("a file where the folder should be")
    answer = put(client)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    assert str(config.uploads_dir) not in answer.text


def ask(client: FlaskClient, *files: dict[str, Any]) -> list[bool]:
    return list(client.post("/v1/files/readable", json={"files": list(files)}).get_json()["readable"])


def seen(path: Path, **changes: Any) -> dict[str, Any]:
    status = path.stat()
    return {"uri": path.as_uri(), "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns} | changes


def test_a_file_is_readable_in_place_only_when_it_is_the_very_same(client: FlaskClient, tmp_path: Path) -> None:
    inside, outside = tmp_path / "pool" / "a b.png", tmp_path / "b.png"
    for path in (inside, outside):
        path.write_bytes(DATA)
    os.symlink(outside, tmp_path / "pool" / "link.png")
    asked = [
        seen(inside),
        seen(inside, uri=str(inside)),
        seen(inside, size_bytes=1),
        seen(inside, mtime_ns=1),
        seen(outside),
        seen(inside, uri=(tmp_path / "pool" / "link.png").as_uri()),
        seen(inside, uri=(tmp_path / "pool" / ".." / "b.png").as_uri()),
        seen(inside, uri=(tmp_path / "pool" / "gone.png").as_uri()),
        seen(tmp_path / "pool", uri=(tmp_path / "pool").as_uri()),
        seen(inside, uri="http://localhost/a.png"),
    ]
    assert ask(client, *asked) == [True, True, *[False] * 8]


def test_the_servers_own_data_is_not_readable_in_place(settings: dict[str, Any], tmp_path: Path, request: Any) -> None:
    settings["sources"]["file"]["roots"] = [str(tmp_path)]
    client = request.getfixturevalue("client")
    put(client)
    assert ask(client, seen(tmp_path / "data" / "catalog.sqlite")) == [False]
