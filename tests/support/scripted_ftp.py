"""An FTP server on loopback that does what a test says at any command: slow, broken, endless, lying or well-behaved."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

CRLF = b"\r\n"


@dataclass(eq=False)
class Session:
    """One control connection. `is_over` makes the server hang up after this command."""

    server: ScriptedFtp
    connection: socket.socket
    stopping: threading.Event
    listener: socket.socket | None = None
    is_over: bool = False

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reply(self, text: str) -> None:
        self.send(text.encode("latin-1") + CRLF)

    def listen(self) -> int:
        """A new port for data."""
        self.close()
        self.listener = socket.create_server((self.server.host, 0))
        self.listener.settimeout(5)
        return int(self.listener.getsockname()[1])

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()

    def accept(self) -> socket.socket:
        assert self.listener is not None
        with self.listener:
            return self.listener.accept()[0]

    def transfer(self, data: bytes, before: str = "150 Here it comes.", after: str = "226 Done.") -> None:
        self.reply(before)
        with self.accept() as sock:
            sock.sendall(data)
        if after:
            self.reply(after)


Step = bytes | Callable[[Session, str], None]


def reset(sock: socket.socket) -> None:
    """Hang up so that the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@dataclass(eq=False)
class ScriptedFtp:
    """`steps`: command to what happens; "" is the greeting. `files`: path to bytes, for RETR and SIZE."""

    steps: dict[str, Step] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    host: str = "127.0.0.1"
    commands: list[str] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> ScriptedFtp:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        ftp = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                ftp._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client hung up, as many of these tests want."""

        self._server = Server((self.host, 0), Connection)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def uri(self, path: str = "a.jpg") -> str:
        return f"ftp://{self.host}:{self.port}/{path}"

    def count(self, command: str) -> int:
        return sum(one.split(" ")[0] == command for one in self.commands)

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        session = Session(self, connection, self.stopping)
        connection.settimeout(0.02)
        received = b""
        with connection, closing(session):
            self._do(session, "", "")
            while not self.stopping.is_set() and not session.is_over:
                try:
                    received += (got := connection.recv(65536))
                except TimeoutError:
                    continue
                if not got:
                    return
                *lines, received = received.split(CRLF)
                for line in lines:
                    name, _, argument = line.decode("latin-1").partition(" ")
                    with self._lock:
                        self.commands.append(line.decode("latin-1"))
                    self._do(session, name, argument)

    def _do(self, session: Session, name: str, argument: str) -> None:
        well_behaved: Step = getattr(self, f"_{name or 'greeting'}", b"500 What?\r\n")
        step = self.steps.get(name, well_behaved)
        if isinstance(step, bytes):
            session.send(step)
        else:
            step(session, argument)

    # What a well-behaved server does.

    _greeting = b"220 Ready.\r\n"
    _USER = b"331 And the password?\r\n"
    _PASS = b"230 Welcome.\r\n"
    _TYPE = b"200 Binary.\r\n"
    _PWD = b'257 "/home" is where you are.\r\n'
    _CWD = b"250 There you are.\r\n"

    def _PASV(self, session: Session, argument: str) -> None:
        port = session.listen()
        session.reply(f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255}).")

    def _RETR(self, session: Session, argument: str) -> None:
        if argument in self.files:
            session.transfer(self.files[argument])
        else:
            session.reply("550 No such file.")

    def _SIZE(self, session: Session, argument: str) -> None:
        data = self.files.get(argument)
        session.reply("550 No such file." if data is None else f"213 {len(data)}")
