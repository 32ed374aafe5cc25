"""The route table: what each route takes and gives, declared once, for the checks and for OpenAPI."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.routing import BaseConverter

from alaas.config import Config
from alaas.errors import InvalidRequest, MalformedRequest, UnsupportedMediaType
from api.auth import LOCAL_OWNER, owner_of
from api.bodies import parse_as, read_capped
from api.idempotency import key_of, once
from api.parts import parts
from api.schema_errors import as_invalid_request
from api.wire import NoBody

logger = logging.getLogger(__name__)
JSON = "application/json"
NDJSON = "application/x-ndjson"
OCTETS = "application/octet-stream"
FORM = "multipart/form-data"

View = Callable[..., Response]
Answers = dict[int, type[BaseModel] | str]


@dataclass(frozen=True)
class Route:
    """`answers`: status to the model of its JSON, or to another media type. `errors`: statuses of problems beside those
    that every such route has. `streams`: media types that the view reads from the request by itself. `keeps_key`: the
    view honours Idempotency-Key by itself. `has_many_keys`: the body holds a
    mapping of any size. `form`: the body is a form, which the view reads by itself; its part `request` is JSON of that
    model, its part `file` is bytes. `example`: a body for the description.
    """

    method: str
    path: str
    view: View
    summary: str
    answers: Answers
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    streams: tuple[str, ...] = ()
    form: type[BaseModel] | None = None
    is_open: bool = False
    keeps_key: bool = False
    errors: tuple[int, ...] = ()
    has_many_keys: bool = False
    example: Any = None

    @property
    def name(self) -> str:
        return f"{self.view.__module__.rpartition('.')[2]}.{self.view.__name__}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.path)

    @property
    def template(self) -> str:
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.path)


@dataclass(frozen=True)
class Call:
    """A request that passed the checks. `digest`: of method, path and body, for what an Idempotency-Key promises."""

    owner: str
    body: Any = None
    query: Any = None
    media_type: str = ""
    key: str | None = None
    digest: str = ""


@dataclass
class RouteTable:
    routes: list[Route] = field(default_factory=list)

    def add(self, method: str, path: str, answers: Answers, **more: Any) -> Callable[[View], View]:
        """Decorate a view `(call, **path parameters) -> Response`; its docstring's first line is the summary."""

        def keep(view: View) -> View:
            summary = (view.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            self.routes.append(Route(method, path, view, summary, answers, **more))
            return view

        return keep


def json_answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status=status, headers=headers, mimetype=JSON)


class Sha256Converter(BaseConverter):
    """Only a whole digest in a path is one, so that /v1/uploads/missing is another route."""

    regex = "[0-9a-f]{64}"


def register(app: Flask, routes: Iterable[Route]) -> None:
    app.url_map.converters["sha256"] = Sha256Converter
    for route in routes:
        app.add_url_rule(
            route.path, route.name, _checked(route), methods=[route.method], provide_automatic_options=False
        )


def _checked(route: Route) -> View:
    def answer(**path: str) -> Response:
        config = parts().config
        owner = LOCAL_OWNER if route.is_open else owner_of(request, config)
        call = _read(route, config, owner)
        if call.key is None or route.keeps_key:
            return route.view(call, **path)
        return once(parts().catalog, owner, call.key, call.digest, lambda: route.view(call, **path))

    return answer


def _read(route: Route, config: Config, owner: str) -> Call:
    query = _query(route.query)
    key = key_of(request) if route.method == "POST" else None
    media_type = _media_type(route)
    if media_type in route.streams or media_type == FORM:
        return Call(owner, None, query, media_type, key)
    if route.body is None:
        return Call(owner, None, query)
    data = b"".join(read_capped(request.stream, request.content_length, config.api.max_body_bytes))
    if route.body is NoBody and not data:
        data = b"{}"
    body = parse_as(route.body, data, config.api.max_depth, has_many_keys=route.has_many_keys)
    return Call(owner, body, query, media_type, key, _digest(data))


def _digest(data: bytes) -> str:
    return sha256(f"{request.method} {request.path}\n".encode() + data).hexdigest()


def _media_type(route: Route) -> str:
    """The body's media type. Raises UnsupportedMediaType for one that the route does not take."""
    taken = (*route.streams, *([JSON] if route.body else []), *([FORM] if route.form else []))
    if not taken:
        return ""
    if route.body is NoBody and not request.content_length and not request.mimetype:
        return JSON
    if request.mimetype not in taken:
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(taken)}")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("the only charset is UTF-8")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the body without Content-Encoding")
    return request.mimetype


def _query(model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        if request.args:
            raise InvalidRequest("this route takes no query parameters", field=next(iter(request.args))[:60])
        return None
    values = dict(request.args.items())
    for name, several in request.args.lists():
        if len(several) > 1:
            raise InvalidRequest("is given more than once", field=name[:60])
    if any("\x00" in value or "\ufffd" in value for value in values.values()):
        raise MalformedRequest("a query parameter is not text")
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise as_invalid_request(error, model, values) from None
