"""Ports of this machine: which are free, and a clear error for one that is not, before anything is started."""

from __future__ import annotations

import errno
import socket

from alaas.errors import ConfigError

LOOPBACK = "127.0.0.1"


def free_port(host: str) -> int:
    """A port that was free a moment ago."""
    with socket.create_server((host, 0), family=_family(host)) as listener:
        return int(listener.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=_family(host)):
            return True
    except OSError:
        return False


def usable_port(host: str, port: int, section: str) -> int:
    """`port`, or a free one for 0. Raises ConfigError for `section` when this machine cannot listen there."""
    try:
        with socket.create_server((host, port), family=_family(host)) as listener:
            return int(listener.getsockname()[1])
    except socket.gaierror:
        raise ConfigError(f"{host!r} is no address", field=f"{section}.host") from None
    except OSError as error:
        raise _clear_error(error, host, port, section) from None


def _clear_error(error: OSError, host: str, port: int, section: str) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        detail = f"port {port} of {host} is taken by another program; stop it, or choose another port"
        return ConfigError(detail, field=f"{section}.port")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{host} is not an address of this machine", field=f"{section}.host")
    return ConfigError(f"cannot listen on port {port} of {host}: {error.strerror}", field=f"{section}.port")


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
