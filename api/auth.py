"""Who asks: the owner behind a bearer token, or "local" on one person's machine.

Without tokens the server is bound to loopback, and what a browser on that machine could be tricked into is refused
here: requests under a foreign host name (DNS rebinding) and writes from a page of another site.
"""

from __future__ import annotations

import hmac
import ipaddress
from hashlib import sha256
from urllib.parse import urlsplit

from flask import Request

from alaas.config import Config
from alaas.errors import Forbidden, Unauthorized, WrongHost

LOCAL_OWNER = "local"


def owner_of(request: Request, config: Config) -> str:
    """The owner whose token the request carries. Raises Unauthorized."""
    if not config.api.tokens:
        return LOCAL_OWNER
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    digest = sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    owner = None
    for known in config.api.tokens:  # All of them, so that the time taken tells nothing.
        if hmac.compare_digest(known.sha256, digest):
            owner = known.owner
    if scheme.lower() != "bearer" or owner is None:
        raise Unauthorized("send Authorization: Bearer with a token of this server")
    return owner


def is_known(request: Request, config: Config) -> bool:
    try:
        owner_of(request, config)
    except Unauthorized:
        return False
    return True


def check_origin(request: Request, config: Config) -> None:
    """Raises WrongHost or Forbidden. With tokens nothing is to be checked: no browser adds them by itself."""
    if config.api.tokens:
        return
    host = request.headers.get("Host", "")
    if not _is_loopback_name(host):
        raise WrongHost("without api.tokens this server answers only to localhost, 127.0.0.1 and [::1]")
    origin = request.headers.get("Origin")
    if request.method in ("GET", "HEAD") or origin is None:
        return
    if urlsplit(origin).netloc != host:
        raise Forbidden("a page of another site may not write here")


def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        # The published package's README calls 0.0.0.0, which connects to this machine. As no name resolves to it by
        # somebody's DNS, it is as safe as 127.0.0.1: rebinding needs a host name.
        return name == "localhost" or (address := ipaddress.ip_address(name)).is_loopback or address.is_unspecified
    except ValueError:
        return False
