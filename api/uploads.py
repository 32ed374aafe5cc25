"""Files of the client's machine: read in place where the server sees the very same file, else sent up once by hash."""

from __future__ import annotations

import os
from hashlib import sha256 as new_sha256
from pathlib import Path

from flask import Response, request

from alaas.errors import InvalidRequest
from alaas_workers.sources import upload_path
from alaas_workers.sources.upload_source import temporary_beside
from api.bodies import read_capped
from api.parts import parts
from api.routing import OCTETS, Call, RouteTable, json_answer
from api.storage import storage_faults
from api.wire import Missing, MissingRequest, Readable, ReadableRequest, Uploaded

ROUTES = RouteTable()


@ROUTES.add("POST", "/v1/files/readable", {200: Readable}, body=ReadableRequest)
def readable(call: Call) -> Response:
    """Which of these files the server sees with the same size and time, beneath its roots, and can read in place"""
    seen = parts().files
    return json_answer(
        Readable(
            readable=[
                seen.version(file.uri, call.owner) == f"{file.size_bytes}-{file.mtime_ns}" for file in call.body.files
            ]
        )
    )


@ROUTES.add("POST", "/v1/uploads/missing", {200: Missing}, body=MissingRequest)
def missing_uploads(call: Call) -> Response:
    """Which of these contents the server does not hold of you"""
    config = parts().config
    absent = [sha256 for sha256 in call.body.sha256 if not upload_path(config, call.owner, sha256).is_file()]
    return json_answer(Missing(missing=absent))


@ROUTES.add("PUT", "/v1/uploads/<sha256:sha256>", {201: Uploaded, 200: Uploaded}, streams=(OCTETS,), errors=(404,))
def upload(call: Call, sha256: str) -> Response:
    """Send up one file's bytes, which must have that SHA-256; its URI is then upload://SHA256"""
    path = upload_path(parts().config, call.owner, sha256)
    with storage_faults("uploads"):
        was_there = path.is_file()
        size_bytes = _store(path, sha256, parts().config.api.max_upload_bytes)
    return json_answer(Uploaded(uri=f"upload://{sha256}", size_bytes=size_bytes), 200 if was_there else 201)


def _store(path: Path, sha256: str, max_bytes: int) -> int:
    """Write beside the target and rename, so that nobody ever reads a part of a file or of a wrong one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with temporary_beside(path) as file:
        digest = new_sha256()
        size_bytes = 0
        for piece in read_capped(request.stream, request.content_length, max_bytes):
            digest.update(piece)
            size_bytes += file.write(piece)
        if digest.hexdigest() != sha256:
            raise InvalidRequest("the bytes have another SHA-256", field="sha256")
        file.flush()
        os.replace(file.name, path)
    return size_bytes
