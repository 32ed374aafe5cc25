"""Hints through a real broker: counted while they wait, and no error when they cannot be sent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from alaas.config import Config
from alaas.jobs import Stage
from alaas_workers import keys
from alaas_workers.app import Hints, make_app
from alaas_workers.ledger import Unit
from tests.support.ledger import config_for
from tests.support.redis_server import RedisServer


@pytest.fixture
def sender(config: Config) -> Hints:
    return Hints(make_app(config))


def test_what_waits_is_counted_by_stage(sender: Hints) -> None:
    for chunk in "012":
        sender.send(Unit("job", Stage.DOWNLOAD, chunk), Stage.DOWNLOAD)
    sender.send(Unit("job", Stage.SELECTION, "all"), Stage.SELECTION)
    assert sender.waiting() == {
        Stage.DOWNLOAD: 3, Stage.PREPROCESS: 0, Stage.INFERENCE: 0, Stage.SELECTION: 1,
    }  # fmt: skip


def test_nothing_waits_where_nothing_was_ever_sent(sender: Hints) -> None:
    assert set(sender.waiting().values()) == {0}


def test_counting_leaves_no_trace(sender: Hints, client: redis.Redis) -> None:
    sender.waiting()
    assert list(client.scan_iter("*")) == []


def test_a_question_for_a_model_goes_to_inference(sender: Hints) -> None:
    sender.describe("small")
    assert sender.waiting()[Stage.INFERENCE] == 1


def test_everything_that_is_sent_lies_under_our_prefix(sender: Hints, client: redis.Redis) -> None:
    sender.send(Unit("job", Stage.DOWNLOAD, "0"), Stage.DOWNLOAD)
    assert all(name.decode().startswith(keys.MESSAGES) for name in client.scan_iter("*"))


def test_a_hint_that_cannot_be_sent_is_no_error_and_takes_seconds_at_most(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        sender = Hints(make_app(config_for(server.url)))
        sender.send(Unit("job", Stage.DOWNLOAD, "0"), Stage.DOWNLOAD)
        server.kill()
        started = time.monotonic()
        sender.send(Unit("job", Stage.DOWNLOAD, "1"), Stage.DOWNLOAD)
        assert time.monotonic() - started < 8
        server.start()
        sender.send(Unit("job", Stage.DOWNLOAD, "2"), Stage.DOWNLOAD)
        assert sender.waiting()[Stage.DOWNLOAD] == 1
