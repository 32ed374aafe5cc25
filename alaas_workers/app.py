"""The Celery application: a configuration, and the app made of it. Messages are hints; the ledger is the truth."""

from __future__ import annotations

import logging
import socket
from typing import Any

from celery import Celery
from kombu.entity import Queue

from alaas.config import Config
from alaas.errors import ConfigError
from alaas.jobs import Stage
from alaas_workers import keys

logger = logging.getLogger(__name__)
WORK = "alaas.work"  # task: one unit; its argument is the unit's text
DESCRIBE = "alaas.describe"  # task on the inference queue: load a model and publish its card


def celery_settings(config: Config) -> dict[str, Any]:
    """Every setting and why it stands so: docs/adr/0002 and the findings of the reliability trials."""
    url = config.broker.messages_url or config.broker.url
    if url is None:
        raise ConfigError(
            "no Redis is configured; `alaas serve` starts one, a lone worker needs its URL", field="broker.url"
        )
    broker = url.get_secret_value()
    settings: dict[str, Any] = {
        "broker_url": broker,
        "task_queues": [_queue(stage) for stage in Stage],
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # True lost tasks at every restart of Redis.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 5,
        # The sweep sends again; a publisher that waits would hold its lease for nothing.
        "task_publish_retry": False,
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }
    if broker.startswith(("redis", "rediss")):
        settings["broker_transport_options"] = {
            "visibility_timeout": max(3600, round(4 * config.pipeline.stall_s)),
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "global_keyprefix": keys.MESSAGES,
        }
    else:
        settings["broker_transport_options"] = {"confirm_publish": True}
    return settings


def _queue(stage: Stage) -> Any:
    make: Any = Queue  # kombu has no types
    return make(stage.value, routing_key=stage.value)


def make_app(config: Config) -> Celery:
    app = Celery("alaas")
    app.conf.update(celery_settings(config))
    return app


def node_name() -> str:
    """This host's name, in the tokens of leases and in signs of life."""
    return socket.gethostname()


class Hints:
    """Sends hints, and tells how many wait. A hint that cannot be sent is no error: the sweep sends it again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, unit: object, stage: Stage) -> None:
        self._send(WORK, str(unit), stage)

    def describe(self, model: str) -> None:
        self._send(DESCRIBE, model, Stage.INFERENCE)

    def _send(self, task: str, argument: str, stage: Stage) -> None:
        try:
            self._app.send_task(task, args=[argument], queue=stage.value, ignore_result=True, retry=False)
        except Exception as error:  # kombu raises the transport's own errors, whatever the broker
            logger.warning("a hint for %s was not sent: %s", stage, type(error).__name__)

    def waiting(self) -> dict[Stage, int]:
        """Messages that no worker has taken yet, by queue. Raises the transport's error when the broker is away."""
        with self._app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            return {stage: self._size(connection, stage) for stage in Stage}

    def _size(self, connection: Any, stage: Stage) -> int:
        channel = connection.channel()  # one each, since asking for a queue that is not there closes it
        # Passive, so that another broker's queues stay as their workers declare them. In Redis kombu looks for such a
        # queue under a key without our prefix and finds none: what waits would be sent again and again.
        passive = connection.transport.driver_type != "redis"
        try:
            return int(channel.queue_declare(queue=stage.value, passive=passive).message_count)
        except connection.channel_errors:
            return 0  # no worker has declared it yet
        finally:
            channel.close()
