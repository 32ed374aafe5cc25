"""Log lines of every process look the same, and no library's chatter drowns ours."""

from __future__ import annotations

import logging
import sys


def set_up_logs(role: str, level: int = logging.INFO) -> None:
    """`role` names the process in each line."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format=f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    # The HTTP libraries log each address that they ask, with the signatures in it.
    for name in ("celery", "kombu", "amqp", "botocore", "urllib3", "httpx", "httpx2", "alembic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
