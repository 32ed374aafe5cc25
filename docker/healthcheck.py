"""Is the process of this container alive? `python -P healthcheck.py ROLE`, for images, compose.yml and Kubernetes.

The API and Flower are asked over HTTP. A worker or dispatcher must have shown itself in the ledger a moment ago.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import cast
from urllib.request import urlopen

from alaas.config import Config, load_config
from alaas.errors import Unavailable


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=4) as response:  # noqa: S310  # a fixed http URL on loopback
            return bool(response.status == 200)
    except OSError:
        return False


def shows_life(role: str, config: Config) -> bool:
    """Whether a process of this host gave a sign of life as `role`."""
    from alaas_workers import keys
    from alaas_workers.ledger.ledger import WORKER_TTL_S
    from alaas_workers.redis_client import connect, text, unavailable_when_away

    url = config.broker.url.get_secret_value() if config.broker.url else None
    try:
        with unavailable_when_away("ledger"):
            redis = connect(url, what="broker.url")
            alive = cast(list[bytes], redis.zrangebyscore(keys.WORKERS, time.time() - WORKER_TTL_S, "+inf"))
    except Unavailable:
        return True  # restarting a worker does not bring its Redis back
    names = (text(name).split(" ", 1) for name in alive)
    return any(
        name == role and f"@{node}".rpartition(":")[0].endswith(f"@{socket.gethostname()}") for name, node in names
    )


def main() -> None:
    role, config = sys.argv[1], load_config()
    if role == "api":
        is_alive = answers(f"http://127.0.0.1:{config.api.port}/healthz")
    elif role == "flower":
        is_alive = answers(f"http://127.0.0.1:{config.flower.port}/healthcheck")
    else:
        is_alive = shows_life(role, config)
    sys.exit(0 if is_alive else 1)


if __name__ == "__main__":
    main()
