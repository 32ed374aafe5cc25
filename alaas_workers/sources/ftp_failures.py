"""What an error of ftplib, the socket or TLS means: for a sample, or for a connection that did not come to be."""

from __future__ import annotations

import ftplib
import re
import ssl

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.failures import failure, transient_failure

_CROWDED = re.compile(r"too many|maximum|limit|busy", re.I)
_NO_RIGHT = re.compile(r"permission|denied|not allowed", re.I)
NO_LOGIN = ("530", "532")
_NO_ENTRY = (*NO_LOGIN, "521", "534", "550")  # at the login: also "not without TLS"


class Stale(Exception):
    """A kept connection turned out to be closed before it did anything: a fresh one may do."""


class Nonsense(ftplib.Error):
    """What the server says is no FTP that a client could follow."""


class Refused(Exception):
    """The server took no more users, or not this login."""

    def __init__(self, is_full: bool) -> None:
        self.is_full = is_full


def as_refusal(error: Exception) -> Exception:
    """What is wrong when a connection did not come to be."""
    if code_of(error) == "421" or (code_of(error) == "530" and _CROWDED.search(str(error))):
        return Refused(is_full=True)
    return Refused(is_full=False) if code_of(error) in _NO_ENTRY else as_failure(error)


def as_failure(error: Exception) -> SampleError:
    """What is wrong with a sample, by the error of ftplib, the socket or TLS."""
    if isinstance(error, ftplib.error_perm):
        if code_of(error) in NO_LOGIN or _NO_RIGHT.search(_without_name(error)):
            return failure(SampleCode.FORBIDDEN)
        # 550 stands for both; some servers answer 501 and 553 to a path that they cannot have.
        return failure(SampleCode.NOT_FOUND if code_of(error) in ("501", "550", "553") else SampleCode.REMOTE_ERROR)
    if isinstance(error, ftplib.error_temp | EOFError | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
        return transient_failure(SampleCode.REMOTE_ERROR)
    if isinstance(error, ssl.SSLError):
        return failure(SampleCode.UNREACHABLE)  # a bad certificate, no TLS at all: both stay so
    if isinstance(error, OSError):
        return transient_failure(SampleCode.UNREACHABLE)
    return failure(SampleCode.REMOTE_ERROR)  # it speaks something else


def _without_name(error: Exception) -> str:
    """What the server says is wrong; many put the name before it, which is the user's to choose."""
    return str(error).rpartition(": ")[2]


def code_of(error: Exception) -> str:
    return str(error)[:3] if isinstance(error, ftplib.Error) else ""
