"""`Idempotency-Key`: the same key gives the same answer, and the work is done once.

Job creation keeps its key in the catalog's own transaction (Catalog.create_job). Every other POST is without effect the
second time anyway, so its answer is kept after the work; a crash between the two only means that it is done again.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Request, Response

from alaas.errors import InvalidRequest
from alaas_workers.catalog import Catalog

KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def key_of(request: Request) -> str | None:
    key = request.headers.get(KEY_HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest("has 1 to 200 visible ASCII characters", field=KEY_HEADER)
    return key


def once(catalog: Catalog, owner: str, key: str, digest: str, work: Callable[[], Response]) -> Response:
    """The answer kept under `key`; else that of `work`, which is kept. Raises Conflict for another request."""
    kept = replayed(catalog, owner, key, digest)
    if kept is not None:
        return kept
    response = work()
    keep(catalog, owner, key, digest, response)
    return response


def replayed(catalog: Catalog, owner: str, key: str, digest: str) -> Response | None:
    kept = catalog.remember(owner, key, digest)
    if kept is None:
        return None
    status, body = kept
    return Response(body, status=status, mimetype="application/json", headers={"Idempotent-Replayed": "true"})


def keep(catalog: Catalog, owner: str, key: str, digest: str, response: Response) -> None:
    """A view raises its errors, so what comes here is a success; errors may be tried again under their key."""
    catalog.memorise(owner, key, digest, response.status_code, response.get_data())
