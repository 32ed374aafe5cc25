"""pyftpdlib as a process of its own: a real FTP server on loopback. Run as a script, it serves.

In a fleet, `ftp://127.0.0.1:PORT/...` needs no configuration; with a login, `sources={"ftp": server.settings()}`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

USER, PASSWORD = "reader", "pässword:@ "


class FtpServer:
    """Serves `folder` to anybody, or with `has_login` to USER alone; under TLS where `certificate` (a PEM) is given."""

    def __init__(
        self,
        folder: Path,
        *,
        has_login: bool = False,
        certificate: Path | None = None,
        is_implicit: bool = False,
        delay_s: float = 0.0,
        max_connections: int = 512,
        lacks: Sequence[str] = (),
    ) -> None:
        self._options = {
            "folder": str(folder),
            "has_login": has_login,
            "certificate": certificate and str(certificate),
            "is_implicit": is_implicit,
            "delay_s": delay_s,
            "max_connections": max_connections,
            "lacks": list(lacks),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FtpServer:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()  # it ends with its input
        self._process = None

    def uri(self, path: str = "", host: str = "127.0.0.1") -> str:
        """Of the file at `path`, from the folder that is served."""
        return f"{'ftps' if self._options['certificate'] else 'ftp'}://{host}:{self.port}/{quote(path)}"

    def settings(self, host: str = "127.0.0.1", **others: Any) -> dict[str, Any]:
        """The section `sources.ftp` that reads from here."""
        login = {"server": self.uri(host=host).rstrip("/"), "user": USER, "password": PASSWORD}
        return {"logins": [login]} | others


def _serve(options: dict[str, Any]) -> None:
    import threading

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    if options["has_login"]:
        authorizer.add_user(USER, PASSWORD, options["folder"])
    else:
        authorizer.add_anonymous(options["folder"])
    handler = _handler(options)
    handler.authorizer = authorizer
    handler.auth_failed_timeout = 0
    server = FTPServer(("127.0.0.1", 0), handler, backlog=512)
    server.max_cons = 0
    server.max_cons_per_ip = options["max_connections"]
    print(server.address[1], flush=True)
    threading.Thread(target=server.serve_forever, kwargs={"handle_exit": False}, daemon=True).start()
    sys.stdin.read()


def _handler(options: dict[str, Any]) -> Any:
    if options["certificate"]:
        from pyftpdlib.handlers import TLS_FTPHandler as Base
    else:
        from pyftpdlib.handlers import FTPHandler as Base

    class Handler(Base):  # type: ignore[misc]
        certfile = options["certificate"]
        tls_control_required = tls_data_required = True
        permit_privileged_ports = False

        def handle(self) -> None:
            if options["is_implicit"]:
                self.secure_connection(self.ssl_context)
            super().handle()

        def ftp_RETR(self, file: str) -> None:
            """After the delay, which holds up nobody else."""
            if options["delay_s"]:
                self.ioloop.call_later(options["delay_s"], super().ftp_RETR, file)
            else:
                super().ftp_RETR(file)

    Handler.proto_cmds = {name: use for name, use in Base.proto_cmds.items() if name not in options["lacks"]}
    return Handler


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
