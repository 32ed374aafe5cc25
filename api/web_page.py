"""GET /: one small page that lists jobs and shows one; static files of this package, no asset from anywhere else."""

from __future__ import annotations

from importlib.resources import files

from flask import Response

from api.routing import Call, RouteTable

ROUTES = RouteTable()
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _static(name: str, media_type: str) -> Response:
    body = (files("api") / "page" / name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(body, mimetype=media_type, headers=headers)


@ROUTES.add("GET", "/", {200: "text/html"}, is_open=True)
def index(call: Call) -> Response:
    """The web page"""
    return _static("index.html", "text/html")


@ROUTES.add("GET", "/page/app.js", {200: "text/javascript"}, is_open=True)
def script(call: Call) -> Response:
    """The web page's script"""
    return _static("app.js", "text/javascript")


@ROUTES.add("GET", "/page/style.css", {200: "text/css"}, is_open=True)
def style(call: Call) -> Response:
    """The web page's style"""
    return _static("style.css", "text/css")
