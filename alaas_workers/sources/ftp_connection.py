"""One connection to an FTP server: ftplib, and around it what keeps a hostile server from holding or filling us.

All of it blocks, and runs in a thread; `cut` alone may be called from another one. ftplib itself connects data where
the control connection goes, whatever address the server names.
"""

from __future__ import annotations

import ftplib
import re
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from alaas.config.sources import FtpSourceConfig
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.ftp_failures import NO_LOGIN, Nonsense, Stale, as_failure, as_refusal, code_of

MAX_REPLY_LINES = 256
"""Of one reply, each no longer than ftplib's 8 KB; a greeting has tens of lines."""

LOWEST_DATA_PORT = 1024
"""Servers take data connections on ports of no service of its own."""

_REPLY = re.compile(r"[1-5][0-9]{2}(?:[ -]|$)")
_BLOCK_BYTES = 64 * 1024


class Connection(ftplib.FTP):
    """`is_clean`: nothing is under way, so that it may be used again. Paths are the server's bytes, as latin-1."""

    def __init__(self, host: str, config: FtpSourceConfig) -> None:
        super().__init__(timeout=config.connect_timeout_s, encoding="latin-1")  # no bytes that it cannot carry
        self.host = host.strip("[]")
        self.is_clean = self.is_kept = False
        self.idle_since_s = 0.0
        self._read_timeout_s = config.read_timeout_s
        self._tls: ssl.SSLContext | None = None
        self._data: socket.socket | None = None
        self._is_cut = self._has_answered = False
        self._is_at_home = True
        self._lines_left = 0
        self._in_use = threading.Lock()

    def open(self, addresses: Sequence[tuple[Any, ...]], tls: ssl.SSLContext | None, *, is_implicit: bool) -> None:
        """Connect to the first of `addresses` that answers, under TLS where `tls` is given, and read the greeting.

        Raises SampleError, or Refused.
        """
        with self._exchange(is_opening=True):
            self._tls = tls
            self.sock = sock = self._connected(addresses)
            self._stop_if_cut()
            self.af = sock.family
            if tls is not None and is_implicit:
                sock = self._secured(sock, tls)
            self.file = sock.makefile("r", encoding=self.encoding)
            self.welcome = self.getresp()
            if tls is not None and not is_implicit:
                self.voidcmd("AUTH TLS")
                # What came before TLS is dropped with the old file: somebody on the way may have put it there.
                self.file = self._secured(sock, tls).makefile("r", encoding=self.encoding)

    def sign_in(self, user: str, password: str) -> None:
        """Raises SampleError, or Refused."""
        with self._exchange(is_opening=True):
            self.login(wire(user), wire(password))
            if self._tls is not None:
                self.voidcmd("PBSZ 0")
                self.voidcmd("PROT P")
            self.voidcmd("TYPE I")

    def read(self, path: str, max_bytes: int) -> bytes:
        """The whole file, as far as the server lets us know. Raises SampleError, or Stale."""
        with self._exchange():
            data, told = self._transfer(f"RETR {path}", max_bytes)
            if told != len(data):  # the word before a transfer may be the name's; SIZE's is the size
                asked = self._asked_size(path)
                expected = told if asked is None else asked
                if expected not in (None, len(data)):
                    raise transient_failure(SampleCode.REMOTE_ERROR)
            if not data:
                raise failure(SampleCode.EMPTY)
            return data

    def list_facts(self, folder: str, max_bytes: int) -> bytes | None:
        """What MLSD tells of a folder; None where the server does not know that command."""
        with self._exchange():
            try:
                return self._transfer(f"MLSD {folder}" if folder else "MLSD", max_bytes)[0]
            except ftplib.error_perm as error:
                if code_of(error) not in ("500", "502", "504"):
                    raise
                return None

    def list_lines(self, folder: str, max_bytes: int) -> bytes:
        """What LIST tells of a folder, from within it: in LIST's own argument, servers expand `*` and read options."""
        with self._exchange():
            home = self.pwd() or "/"
            self._is_at_home = False  # until it is back there, no path means what it should
            self.voidcmd(f"CWD {folder or home}")
            lines = self._transfer("LIST", max_bytes)[0]
            self.voidcmd(f"CWD {home}")
            self._is_at_home = True
            return lines

    def is_alive(self) -> bool:
        """Whether nothing came since its last use: a server that hangs up says so, or closes."""
        if self.sock is None:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def cut(self) -> None:
        """From any thread: whatever waits on this connection fails at once."""
        self._is_cut = True
        for sock in (self.sock, self._data):
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # a TLS socket's own forgets its TLS first

    def discard(self) -> None:
        """Close it when whoever uses it has noticed that it is cut."""
        with self._in_use:
            self.close()

    # What ftplib calls, in our way.

    def getmultiline(self) -> str:
        self._lines_left = MAX_REPLY_LINES
        return super().getmultiline()

    def getline(self) -> str:
        is_first = self._lines_left == MAX_REPLY_LINES
        self._lines_left -= 1
        line = super().getline()
        if self._lines_left < 0 or (is_first and not _REPLY.match(line)):
            raise Nonsense
        return line

    def makepasv(self) -> tuple[str, int]:
        host, port = super().makepasv()
        self._has_answered = True
        if not LOWEST_DATA_PORT <= port <= 65535:
            raise Nonsense
        return host, port

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        sock, told = super().ntransfercmd(cmd, rest)
        self._data = sock
        self._stop_if_cut()
        sock.settimeout(self._read_timeout_s)
        if self._tls is not None:
            # Many servers take a data connection only with the TLS session of the control connection.
            session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
            sock = self._secured(sock, self._tls, session)
        return sock, told

    # The parts.

    @contextmanager
    def _exchange(self, *, is_opening: bool = False) -> Iterator[None]:
        """Turns what goes wrong into a failure, and closes the connection when its state is not known any more."""
        with self._in_use:
            self.is_clean = self._has_answered = False
            try:
                self._stop_if_cut()
                yield
                self.is_clean = True
            except (ftplib.Error, OSError, EOFError, ValueError) as error:
                self.is_clean = (
                    isinstance(error, ftplib.error_perm) and code_of(error) not in NO_LOGIN and self._is_at_home
                )
                raise (as_refusal(error) if is_opening else self._as_failure(error)) from None
            except SampleError as error:
                self.is_clean = error.sample_code is SampleCode.EMPTY
                raise
            finally:
                if self._data is not None:
                    self._data.close()
                if not self.is_clean:
                    self.close()

    def _stop_if_cut(self) -> None:
        """Asked after each new socket is in its place: whoever cuts either sees it there or is seen here."""
        if self._is_cut:
            raise EOFError

    def _connected(self, addresses: Sequence[tuple[Any, ...]]) -> socket.socket:
        for number, (family, kind, protocol, _, address) in enumerate(addresses, 1):
            self._stop_if_cut()
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.timeout)
                sock.connect(address)
                sock.settimeout(self._read_timeout_s)
                return sock
            except OSError:
                sock.close()
                if number == len(addresses):
                    raise
        raise failure(SampleCode.UNREACHABLE)

    def _secured(
        self, sock: socket.socket, tls: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        wrapped = tls.wrap_socket(sock, server_hostname=self.host, session=session, do_handshake_on_connect=False)
        if self.sock is sock:  # so that `cut` reaches a handshake that hangs
            self.sock = wrapped
        else:
            self._data = wrapped
        wrapped.do_handshake()
        return wrapped

    def _transfer(self, command: str, max_bytes: int) -> tuple[bytes, int | None]:
        """What comes over a data connection, and the size that the server named beforehand, if it did."""
        sock, told = self.ntransfercmd(command)
        with sock:
            if told is not None and told > max_bytes:
                raise failure(SampleCode.TOO_LARGE)
            data = _received(sock, max_bytes)
        self.voidresp()
        return data, told

    def _asked_size(self, path: str) -> int | None:
        try:
            return self.size(path)
        except (ftplib.error_perm, ValueError):
            return None

    def _as_failure(self, error: Exception) -> Exception:
        is_gone = isinstance(error, EOFError | ConnectionError) or code_of(error) == "421"
        return Stale() if is_gone and self.is_kept and not self._has_answered else as_failure(error)


def wire(text: str | bytes) -> str:
    """The letters that go out as the bytes of `text`, in UTF-8."""
    return (text.encode() if isinstance(text, str) else text).decode("latin-1")


def _received(sock: socket.socket, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := sock.recv(_BLOCK_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise failure(SampleCode.TOO_LARGE)
    return b"".join(parts)
