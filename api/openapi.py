"""GET /openapi.json: OpenAPI 3.1, made from the route table and the same models that check every request."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from flask import Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import alaas
from alaas.jobs import Dataset, Job, Problem
from api.parts import parts
from api.problems import PROBLEM_TYPE
from api.routing import FORM, JSON, NDJSON, OCTETS, Call, Route, RouteTable
from api.wire import NoBody

ROUTES = RouteTable()
_REF = "#/components/schemas/{model}"
_MADE: dict[Any, str] = {Dataset: "dataset_id", Job: "job_id"}
_ERRORS = {
    400: "The request cannot be read",
    401: "No valid token",
    403: "A page of another site tried to write",
    404: "No such thing, or another owner's",
    409: "It contradicts what is there",
    413: "The body is too large",
    414: "The URL is too long",
    415: "The body is of another type",
    421: "Without tokens, only this machine's own names are answered",
    422: "A wrong value; `field` names it",
    429: "Over a limit; Retry-After says when to try again",
    503: "A part of the service is away; Retry-After says when to try again",
}


@ROUTES.add("GET", "/openapi.json", {200: JSON}, is_open=True)
def openapi_json(call: Call) -> Response:
    """This description"""
    return Response(_text(bool(parts().config.api.tokens)), mimetype=JSON)


@cache
def _text(has_tokens: bool) -> str:
    from api.app import all_routes  # The table of all routes, this one among them.

    return json.dumps(document(all_routes(), has_tokens=has_tokens))


def document(routes: list[Route], *, has_tokens: bool) -> dict[str, Any]:
    schemas, components = _schemas(routes)
    paths: dict[str, Any] = {}
    for route in routes:
        operation = paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, schemas, has_tokens)
        _add_links(operation, route, routes)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ALaaS", "version": alaas.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": components},
    }
    if has_tokens:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return described


def _schemas(routes: list[Route]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    asked = {(model, "validation") for route in routes for model in (route.body, route.query, route.form) if model}
    given = {
        (model, "serialization") for route in routes for model in route.answers.values() if not isinstance(model, str)
    }
    models = sorted(asked | given | {(Problem, "serialization")}, key=lambda pair: (pair[0].__name__, pair[1]))
    schemas, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    _close_mappings(definitions["$defs"])
    return schemas, definitions["$defs"]


def _close_mappings(schema: Any) -> None:
    """A mapping whose keys have a pattern takes no other keys; pydantic's schema leaves that open."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []:
        _close_mappings(inner)
    if isinstance(schema, dict) and "patternProperties" in schema:
        schema.setdefault("additionalProperties", False)


def _operation(route: Route, schemas: dict[Any, Any], has_tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.name.partition(".")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas, has_tokens),
    }
    if route.body or route.streams or route.form:
        operation["requestBody"] = _body(route, schemas)
    if has_tokens and not route.is_open:
        operation["security"] = [{"token": []}]
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    patterns = {"sha256": "^[0-9a-f]{64}$"}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": patterns.get(name, "^[A-Za-z0-9_-]{1,64}$")},
        }
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    definitions = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(part, definitions)}
        for name, part in schema["properties"].items()
    ]


def _without_null(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is absent or a value, never null; and what it refers to is written out."""
    kinds = [kind for kind in part.get("anyOf", [part]) if kind.get("type") != "null"]
    kind = dict(kinds[0])
    reference = kind.pop("$ref", None)
    return dict(definitions[reference.rpartition("/")[2]]) if reference else kind


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if route.method != "POST":
        return []
    schema = {"type": "string", "pattern": "^[!-~]{1,200}$"}
    text = "the same key gives the same answer, and the work is done once"
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "description": text, "schema": schema}]


def _body(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.body:
        content[JSON] = {"schema": schemas[(route.body, "validation")]}
        if route.example is not None:
            content[JSON]["example"] = route.example
    for media_type in route.streams:
        text = 'one JSON string or {"uri": "..."} a line' if media_type == NDJSON else "the bytes"
        content[media_type] = {"schema": {"type": "string", "description": text}}
    if route.form:
        content[FORM] = _form(schemas[(route.form, "validation")])
    return {"required": route.body is not NoBody, "content": content}


def _form(request: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"request": request, "file": {"type": "string", "format": "binary"}},
        "required": ["request", "file"],
        "additionalProperties": False,
    }
    return {"schema": schema, "encoding": {"request": {"contentType": JSON}, "file": {"contentType": OCTETS}}}


def _responses(route: Route, schemas: dict[Any, Any], has_tokens: bool) -> dict[str, Any]:
    found = {str(status): _answer(model, schemas) for status, model in route.answers.items()}
    problem = {PROBLEM_TYPE: {"schema": schemas[(Problem, "serialization")]}}
    for status in _error_statuses(route, has_tokens):
        found.setdefault(str(status), {"description": _ERRORS[status], "content": problem})
    return found


def _add_links(operation: dict[str, Any], route: Route, routes: list[Route]) -> None:
    """From the route that makes a thing to those that take its id."""
    for status, model in route.answers.items():
        name = _MADE.get(model) if route.method == "POST" and not route.parameters else None
        if name is not None:
            operation["responses"][str(status)]["links"] = {
                other.name: {"operationId": other.name, "parameters": {name: "$response.body#/id"}}
                for other in routes
                if name in other.parameters
            }


def _error_statuses(route: Route, has_tokens: bool) -> list[int]:
    statuses = {*route.errors, 422, 503}
    if has_tokens:
        statuses |= set() if route.is_open else {401}
    else:
        statuses |= {421, 403} if route.method != "GET" else {421}
    if route.query:
        statuses |= {400, 414}
    if route.body or route.streams or route.form:
        statuses |= {400, 409, 413, 415}
    return sorted(statuses)


def _answer(model: type[BaseModel] | str, schemas: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(model, str):
        return {"description": "As asked", "content": {model: {}}}
    text = (model.__doc__ or model.__name__).strip().partition("\n")[0]
    return {"description": text, "content": {JSON: {"schema": schemas[(model, "serialization")]}}}
