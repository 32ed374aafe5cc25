"""gunicorn around the application: nothing opened before the fork, no client that can hold a thread for long.

BaseApplication and not Application: the latter would put the working directory on sys.path, where a user's own folder
may hold a package called `api`. The worker overrides steps of gunicorn's own, so its release is held in pyproject.toml.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http import errors as faults
from gunicorn.workers import gthread

from alaas.config import Config
from alaas.jobs import Problem
from api.problems import PROBLEM_TYPE

logger = logging.getLogger(__name__)
HEAD_TIMEOUT_S = 5.0  # from a request's first byte to the end of its headers, which a client sends at once
STOPPING = threading.Event()
"""Set in a worker process that is told to stop; event streams and POST /post end then."""

_STATUS: dict[type[Exception], tuple[int, str]] = {
    faults.LimitRequestLine: (414, "URI Too Long"),
    faults.ExpectationFailed: (417, "Expectation Failed"),
    faults.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
}


class Server(BaseApplication):  # type: ignore[misc]
    """`load` makes the application; it is called once in each worker process."""

    def __init__(self, config: Config, load: Callable[[], Flask]) -> None:
        self.config = config
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        for name, value in _settings(self.config).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._load()


def _settings(config: Config) -> dict[str, Any]:
    host = f"[{config.api.host}]" if ":" in config.api.host else config.api.host
    return {
        "bind": f"{host}:{config.api.port}",
        "workers": config.api.workers,
        "threads": config.api.threads,
        "worker_class": "api.serving.Worker",
        "timeout": 60,  # s without a sign of life of the worker's main loop
        "graceful_timeout": 10,  # s for requests under way at SIGTERM; a stopped upload is sent again by the client
        "keepalive": 30,
        "proc_name": "alaas-api",
        "accesslog": None,  # It would hold query strings; api/app.py logs routes.
        "control_socket_disable": True,
    }


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker, with deadlines for slow clients and its own errors as problem+json."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heads: dict[Any, float] = {}  # connections whose request is not complete, and since when

    def handle_exit(self, sig: int, frame: Any) -> None:
        STOPPING.set()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        STOPPING.set()
        super().handle_quit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """In a thread: read one request and answer it."""
        if not conn.initialized and not conn.wait_for_data(0):
            return gthread._DEFER  # The main loop waits for the first byte, which costs no thread.
        _limit_silence(conn.sock, self.app.config.api.idle_timeout_s)
        self._heads[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._heads.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._heads.pop(conn, None)
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """In the main loop, every second: also hang up on those who send their headers drop by drop."""
        super().murder_pending()
        for conn, since in list(self._heads.items()):
            if time.monotonic() - since > HEAD_TIMEOUT_S:
                _hang_up(conn.sock)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP request. The reason is logged by its class, since its text quotes the request."""
        logger.warning("a request could not be served: %s", type(exc).__name__)
        is_theirs = isinstance(exc, faults.ParseException) and not isinstance(exc, faults.ConfigurationProblem)
        default = (400, "Bad Request") if is_theirs else (500, "Internal Server Error")
        status, reason = _STATUS.get(type(exc), default)
        problem = Problem(title=reason, status=status, code="malformed_request", detail="the request cannot be read")
        body = problem.model_dump_json(exclude_none=True)
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {PROBLEM_TYPE}\r\n"
        try:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            logger.debug("the client had left")


def _limit_silence(client: socket.socket, timeout_s: float) -> None:
    """A read or a write that stands still for so long fails. By the kernel, since gunicorn resets Python's timeouts."""
    seconds = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


def _hang_up(client: socket.socket) -> None:
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        logger.debug("the client had left")
