"""`create_app`: the Flask application, from its configuration and its collaborators and nothing else."""

from __future__ import annotations

import logging
import threading
import time

from flask import Flask, Response, g, request

from alaas.config import Config
from alaas_workers.backends.triton_health import TritonHealth
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from alaas_workers.sources.file_source import FileSource
from api import (
    datasets,
    events,
    jobs,
    metrics,
    openapi,
    problems,
    published,
    routing,
    selections,
    service,
    uploads,
    web_page,
)
from api.auth import check_origin
from api.parts import EXTENSION, Parts, Slots, parts

logger = logging.getLogger(__name__)
ROOMS = (datasets, jobs, events, uploads, selections, service, metrics, openapi, published, web_page)


def all_routes() -> list[routing.Route]:
    return [route for room in ROOMS for route in room.ROUTES.routes]


def create_app(
    config: Config, catalog: Catalog, ledger: Ledger, cards: ModelCards, stopping: threading.Event | None = None
) -> Flask:
    """`stopping`: set when the server stops, so that event streams and POST /post end at once."""
    app = Flask("api", static_folder=None)
    app.url_map.merge_slashes = False  # A redirect of POST //v1/jobs would be no problem+json.
    app.extensions[EXTENSION] = Parts(
        config=config,
        catalog=catalog,
        ledger=ledger,
        cards=cards,
        files=FileSource(config),
        stopping=stopping or threading.Event(),
        slots=Slots(config.api.threads // 2),
        selections=Slots(config.api.max_selections, "too many selections from files run now"),
        triton=TritonHealth(config),
    )
    problems.register(app)
    routing.register(app, all_routes())
    app.before_request(_before)
    app.after_request(_after)
    return app


def _before() -> None:
    g.started = time.monotonic()
    check_origin(request, parts().config)


def _after(response: Response) -> Response:
    """Headers that every answer has; count and log it, by its route and never by its query."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    route = request.url_rule.rule if request.url_rule else None
    seconds = time.monotonic() - g.get("started", time.monotonic())
    parts().http.count(request.method, route, response.status_code, seconds)
    logger.info("%s %s %d %.0f ms", request.method, route or "unknown route", response.status_code, seconds * 1000)
    return response
