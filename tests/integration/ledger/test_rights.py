"""The fewest rights that our Redis users need (docs/operations.md): our own keys, nothing dangerous, no admin's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from alaas.errors import SampleCode
from alaas.jobs import ModelCard, Problem, Stage
from alaas_workers.app import Hints, make_app
from alaas_workers.cache import Cache
from alaas_workers.ledger import ChunkSample, FailedAt, Ledger, Outcome, Unit
from alaas_workers.model_cards import ModelCards
from tests.support.ledger import admitted, claimed, config_for, opened
from tests.support.redis_server import RedisServer

# INFO is counted as dangerous; it tells how full a Redis is. Channels carry Celery's remote control only.
RIGHTS = ["~alaas:*", "&*", "+@all", "-@dangerous", "-@admin", "+info"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("rights"), maxmemory="100mb") as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        admin.execute_command("ACL", "LOG", "RESET")
        yield admin


def url_of_user(admin: redis.Redis, server: RedisServer, *rights: str) -> str:
    admin.execute_command("ACL", "SETUSER", "alaas", "reset", "on", ">secret", *rights)  # type: ignore[no-untyped-call]
    return server.url.replace("//", "//alaas:secret@")


def denied(admin: redis.Redis) -> set[str]:
    # redis-py tells its version by CLIENT SETINFO and goes on when it may not.
    return {str(entry["object"]) for entry in admin.acl_log()} - {"client"}


def test_every_call_of_ledger_cache_and_cards_needs_no_more(server: RedisServer, admin: redis.Redis) -> None:
    url = url_of_user(admin, server, *RIGHTS)
    config = config_for(url, models={"small": {"source": "null"}})
    ledger, cache, cards = Ledger.open(config), Cache.open(config), ModelCards.open(config)
    first, second = admitted(ledger, 4, planned=False), admitted(ledger, 4)
    lease = claimed(ledger, first)
    assert ledger.beat(lease)
    ledger.done(lease, Stage.PREPROCESS, Outcome(3, [FailedAt(0, SampleCode.EMPTY, "")], 5), 0.1)
    assert ledger.send_back(claimed(ledger, first._replace(stage=Stage.PREPROCESS)))
    ledger.abandon(claimed(ledger, first).unit, "me")
    assert ledger.sweep()
    ledger.done(claimed(ledger, first), None, Outcome(0), 0.1)
    for half in ledger.split(claimed(ledger, second), 0):
        ledger.done(claimed(ledger, half), None, Outcome(0), 0.1)
    selection = Unit("job", Stage.SELECTION, "all")
    ledger.release(claimed(ledger, selection), 0.0)
    assert ledger.replan(claimed(ledger, selection)) == 1
    ledger.fail("job", Problem(title="t", status=500, code="c", detail="d"))
    ledger.submit("job")
    assert ledger.wait_for_work(1.0)
    ledger.sign_of_life("download", "node")
    assert ledger.workers() == {"download": 1}
    assert (ledger.progress("job"), ledger.failures("job"), ledger.metrics(), ledger.jobs()) is not None
    assert 0 < ledger.free_fraction() < 1
    ledger.cancel("job")
    cache.put(first, b"data")
    assert cache.take(first) == b"data"
    cache.drop(first)
    cache.put_features([])
    assert cache.present([b"alaas:f:1"]).tolist() == [False]
    assert cache.room_bytes() == 100 * 2**20
    cards.publish(ModelCard(name="small", modality="vision", error="e"))
    cards.clear_error("small")
    assert denied(admin) == set()


def test_without_the_right_to_ask_for_its_size_a_redis_counts_as_roomy(server: RedisServer, admin: redis.Redis) -> None:
    config = config_for(url_of_user(admin, server, *RIGHTS[:-1]))
    assert Ledger.open(config).free_fraction() == 1.0
    assert Cache.open(config).room_bytes() is None


def test_these_rights_do_not_reach_other_keys_or_what_is_dangerous(server: RedisServer, admin: redis.Redis) -> None:
    with redis.Redis.from_url(url_of_user(admin, server, *RIGHTS)) as user:
        for refused in (["GET", "other"], ["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["ACL", "LIST"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*refused)


@pytest.fixture
def download_worker(server: RedisServer, admin: redis.Redis, tmp_path: Path) -> Iterator[str]:
    """A real worker that reads files beneath `tmp_path`; gives the URL that it uses."""
    url = url_of_user(admin, server, *RIGHTS)
    config = {
        "broker": {"url": url}, "cache": {"url": url}, "storage": {"data_dir": str(tmp_path / "data")},
        "sources": {"file": {"roots": [str(tmp_path)]}}, "models": {"small": {"source": "null"}},
    }  # fmt: skip
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "alaas_workers.worker", "download"],
            env=os.environ | {"ALAAS_CONFIG": str(tmp_path / "config.yml")}, stdout=log, stderr=log,
        )  # fmt: skip
        yield url
        process.terminate()
        process.wait(30)


def test_a_worker_takes_its_hints_and_sends_the_next_with_no_more(
    admin: redis.Redis, download_worker: str, tmp_path: Path
) -> None:
    config = config_for(download_worker)
    ledger, hints = Ledger.open(config), Hints(make_app(config))
    (tmp_path / "a.png").write_bytes(b"bytes")
    sample = ChunkSample(0, (tmp_path / "a.png").as_uri(), "")
    units = ledger.admit(opened(ledger, total=1), 0, True, [sample], 0)[1]
    hints.send(units[0], Stage.DOWNLOAD)
    deadline = time.monotonic() + 60
    while not hints.waiting()[Stage.PREPROCESS] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ledger.open_units() == ([units[0]._replace(stage=Stage.PREPROCESS)], set())
    assert denied(admin) == set()
