"""Active Learning as a Service: what a user imports. Loads neither the fleet nor torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alaas.client import Client
    from alaas.server import Server

__version__ = "0.1.0"
__all__ = ["Client", "Server", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported at first use, so that `import alaas.config` in a worker does not load the HTTP client.
    if name == "Client":
        from alaas.client import Client

        return Client
    if name == "Server":
        from alaas.server import Server

        return Server
    raise AttributeError(f"module 'alaas' has no attribute {name!r}")
