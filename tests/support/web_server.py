"""A server on loopback whose answers are bytes that a test writes itself: slow, broken, endless or well-behaved."""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP answer; `Content_Length="9"` overrides a header."""
    lines = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@dataclass
class Request:
    """One request and its connection. `closing` makes the server hang up after it."""

    path: str
    head: str
    connection: socket.socket
    stopping: threading.Event
    closing: bool = False

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reset(self) -> None:
        """Hang up so that the other side sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closing = True


Route = bytes | Callable[[Request], None]


@dataclass
class WebServer:
    """`routes`: path to answer, or to what to do; "*" for any other path. Counts what reaches it."""

    routes: dict[str, Route] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def __enter__(self) -> WebServer:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        web = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                web.serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            allow_reuse_address = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client hung up, as many of these tests want."""

        self._server = Server((self.host, self.port), Connection)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def uri(self, path: str = "/") -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def serve(self, connection: socket.socket) -> None:
        """All requests of one connection."""
        with self._lock:
            self.connections += 1
        connection.settimeout(0.02)
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True)
        received = b""
        with connection:
            while not self.stopping.is_set():
                try:
                    received += (got := connection.recv(65536))
                except TimeoutError:
                    continue
                if not got:
                    return
                if b"\r\n\r\n" in received:
                    head, _, received = received.partition(b"\r\n\r\n")
                    if self._reply(head.decode("latin-1"), connection).closing:
                        return

    def _reply(self, head: str, connection: socket.socket) -> Request:
        path = head.split(" ")[1] if head.count(" ") >= 2 else head
        request = Request(path, head, connection, self.stopping)
        with self._lock:
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            route = self.routes.get(path) or self.routes.get("*") or answer(b"", "404 Not Found")
            if isinstance(route, bytes):
                connection.sendall(route)
            else:
                route(request)
        finally:
            with self._lock:
                self.at_once -= 1
        return request
