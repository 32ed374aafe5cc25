"""Datasets: pools with a name and an owner, their samples (JSON or streamed NDJSON) and labels."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256

from flask import Response, request

from alaas.errors import Conflict, InvalidRequest
from alaas.jobs import (
    Dataset,
    DatasetRequest,
    LabelsAdded,
    LabelsRequest,
    SamplesAdded,
    SamplesRequest,
)
from api.bodies import ndjson_uris, read_capped
from api.idempotency import keep, replayed
from api.parts import parts
from api.routing import NDJSON, Call, RouteTable, json_answer
from api.wire import DatasetPage, DatasetsQuery, SamplePage, SamplesQuery

ROUTES = RouteTable()


_URIS = ["http://images.example/1.png", "http://images.example/2.png", "file:///data/3.png"]


@ROUTES.add(
    "POST", "/v1/datasets", {201: Dataset, 200: Dataset}, body=DatasetRequest, errors=(409,),
    example={"name": "street scenes", "tags": {"site": "north"}, "uris": _URIS},
)  # fmt: skip
def create_dataset(call: Call) -> Response:
    """Create a dataset, or find the one of that name; its tags are merged and the URIs that it lacks are added"""
    catalog, asked = parts().catalog, call.body
    dataset, is_new = catalog.create_dataset(call.owner, asked.name, asked.modality, asked.tags)
    if asked.uris:
        catalog.add_samples(call.owner, dataset.id, asked.uris, parts().config.api.max_pool)
        dataset = catalog.get_dataset(call.owner, dataset.id)
    return json_answer(dataset, 201 if is_new else 200, {"Location": f"/v1/datasets/{dataset.id}"})


@ROUTES.add("GET", "/v1/datasets", {200: DatasetPage}, query=DatasetsQuery)
def list_datasets(call: Call) -> Response:
    """List your datasets, or find one by name"""
    asked = call.query
    items, cursor = parts().catalog.list_datasets(call.owner, asked.after, asked.limit, name=asked.name)
    return json_answer(DatasetPage(items=items, next=cursor))


@ROUTES.add("GET", "/v1/datasets/<dataset_id>", {200: Dataset}, errors=(404,))
def get_dataset(call: Call, dataset_id: str) -> Response:
    """One dataset"""
    return json_answer(parts().catalog.get_dataset(call.owner, dataset_id))


@ROUTES.add("GET", "/v1/datasets/<dataset_id>/samples", {200: SamplePage}, query=SamplesQuery, errors=(404,))
def list_samples(call: Call, dataset_id: str) -> Response:
    """The samples of a dataset, in the order in which they came"""
    asked = call.query
    items, cursor = parts().catalog.list_samples(call.owner, dataset_id, asked.after, asked.limit, asked.labelled)
    return json_answer(SamplePage(items=items, next=cursor))


@ROUTES.add(
    "POST", "/v1/datasets/<dataset_id>/labels", {200: LabelsAdded}, body=LabelsRequest, errors=(404,),
    has_many_keys=True, example={"labels": {_URIS[0]: "cat"}},
)  # fmt: skip
def add_labels(call: Call, dataset_id: str) -> Response:
    """Label samples, by id or URI"""
    return json_answer(LabelsAdded(labelled=parts().catalog.add_labels(call.owner, dataset_id, call.body.labels)))


@ROUTES.add(
    "POST", "/v1/datasets/<dataset_id>/samples", {200: SamplesAdded},
    body=SamplesRequest, streams=(NDJSON,), keeps_key=True, errors=(404, 409),
    example={"uris": _URIS},
)  # fmt: skip
def add_samples(call: Call, dataset_id: str) -> Response:
    """Add samples: JSON, or NDJSON of any length, one JSON string or {"uri": "..."} a line"""
    parts().catalog.get_dataset(call.owner, dataset_id)  # 404 before the body is read
    if call.media_type == NDJSON:
        return _add_streamed(call, dataset_id)
    if call.key and (kept := replayed(parts().catalog, call.owner, call.key, call.digest)):
        return kept
    response = json_answer(_add(call, dataset_id, iter(call.body.uris)))
    if call.key:
        keep(parts().catalog, call.owner, call.key, call.digest, response)
    return response


def _add(call: Call, dataset_id: str, uris: Iterator[str]) -> SamplesAdded:
    return parts().catalog.add_samples(call.owner, dataset_id, uris, parts().config.api.max_pool)


class _Hashed:
    """The pieces of the request's body, with the digest of those that were read."""

    def __init__(self) -> None:
        self._hash = sha256(f"{request.method} {request.path}\n".encode())

    def pieces(self) -> Iterator[bytes]:
        for piece in read_capped(request.stream, request.content_length, sys.maxsize):
            self._hash.update(piece)
            yield piece

    def digest(self) -> str:
        return self._hash.hexdigest()


def _add_streamed(call: Call, dataset_id: str) -> Response:
    body = _Hashed()
    if call.key and _is_known(call.owner, call.key):
        for _ in body.pieces():
            pass
        if kept := replayed(parts().catalog, call.owner, call.key, body.digest()):
            return kept
        raise Conflict("the answer kept under that key is gone", field="Idempotency-Key")
    response = json_answer(_add_until_bad(call, dataset_id, body))
    if call.key:
        keep(parts().catalog, call.owner, call.key, body.digest(), response)
    return response


def _is_known(owner: str, key: str) -> bool:
    """Whether an answer is kept under `key`. The body's digest is known only at its end, so ask with none."""
    try:
        return parts().catalog.remember(owner, key, "") is not None
    except Conflict:
        return True


def _add_until_bad(call: Call, dataset_id: str, body: _Hashed) -> SamplesAdded:
    """Add line by line; those before a bad line stay, since adding them again later changes nothing."""
    limits = parts().config.api
    bad: list[InvalidRequest] = []

    def good() -> Iterator[str]:
        try:
            yield from ndjson_uris(body.pieces(), limits.max_line_bytes, limits.max_depth)
        except InvalidRequest as error:
            bad.append(error)

    added = _add(call, dataset_id, good())
    if bad:
        kept = f"{added.added} new samples of the {added.received} before it were kept"
        raise type(bad[0])(f"{bad[0].detail}; {kept}", field=bad[0].field)
    return added
