"""What users and the world get wrong: each has a clear error, and one bad sample never fails the others."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from alaas import Server
from alaas.errors import ConfigError, InvalidRequest, JobFailed
from alaas.jobs import FailedSample, Report
from tests.acceptance.conftest import CHUNK, MAX_PIXELS, MAX_SAMPLE_BYTES, Fleet
from tests.support import images
from tests.support.fleets import write_config
from tests.support.redis_server import free_port
from tests.support.users import until
from tests.support.web_server import Request, answer


def png(width: int, height: int, bits: int = 1) -> bytes:
    """A black PNG, grey for 1 bit and RGB for 24: a few hundred kilobytes for hundreds of millions of pixels."""

    def piece(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = bytes(1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * min(100, height - start)) for start in range(0, height, 100))
    depth, colours = (1, 0) if bits == 1 else (8, 2)
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    packed += packer.flush()
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", packed) + piece(b"IEND", b"")


def drip(request: Request) -> None:
    """A byte now and then, never silent for as long as the read timeout."""
    request.send(answer(b"", Content_Length="1000"))
    while not request.stopping.wait(0.3):
        request.send(b"x")


def codes(failed: list[FailedSample]) -> dict[str, str]:
    return {sample.uri: sample.code for sample in failed}


def run(fleet: Fleet, uris: list[str], budget: int, **options: Any) -> Report:
    """The report of one query of these very URIs; the client would send local files up."""
    job = fleet.client.wait(fleet.client.submit_job(uris=uris, budget=budget, **options), timeout_s=100)
    return fleet.client.report(job)


@pytest.fixture(scope="module")
def bad(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URI of every kind of bad sample, to the code that the report must give."""
    bomb = png(30_000, 30_000)
    assert len(bomb) < MAX_SAMPLE_BYTES and 30_000**2 > MAX_PIXELS
    fleet.web.routes |= {
        "/gone.jpg": answer(b"", "410 Gone"),
        "/secret.jpg": answer(b"", "403 Forbidden"),
        "/broken.jpg": answer(b"", "500 Internal Server Error"),
        "/drip.jpg": drip,
        "/large.jpg": answer(bytes(MAX_SAMPLE_BYTES + 1)),
        "/text.jpg": answer(b"<html>no image</html>"),
        "/truncated.jpg": answer(images.jpeg(400, 300)[:4000]),
        "/bomb.png": answer(bomb),
        "/empty.jpg": answer(b""),
        "/to-metadata.jpg": answer(b"", "302 Found", Location="http://169.254.169.254/latest/meta-data/"),
    }
    outside = tmp_path_factory.mktemp("outside") / "photo.jpg"
    outside.write_bytes(images.jpeg())
    (fleet.root / "link.jpg").symlink_to(outside)
    (fleet.root / "empty.png").touch()
    (fleet.root / "folder").mkdir()
    return {
        fleet.web.uri("/missing.jpg"): "not_found",
        fleet.web.uri("/gone.jpg"): "not_found",
        fleet.web.uri("/secret.jpg"): "forbidden",
        fleet.web.uri("/broken.jpg"): "remote_error",
        fleet.web.uri("/drip.jpg"): "unreachable",
        fleet.web.uri("/large.jpg"): "too_large",
        fleet.web.uri("/text.jpg"): "not_an_image",
        fleet.web.uri("/truncated.jpg"): "truncated",
        fleet.web.uri("/bomb.png"): "too_many_pixels",
        fleet.web.uri("/empty.jpg"): "empty",
        fleet.web.uri("/to-metadata.jpg"): "unreachable",
        f"http://127.0.0.1:{free_port()}/refused.jpg": "unreachable",
        "http://169.254.169.254/latest/meta-data/": "unreachable",
        outside.as_uri(): "not_allowed",
        (fleet.root / "link.jpg").as_uri(): "not_allowed",
        (fleet.root / "folder").as_uri(): "not_allowed",
        (fleet.root / "empty.png").as_uri(): "empty",
        (fleet.root / "none.jpg").as_uri(): "not_found",
    }


def test_each_bad_sample_is_listed_with_its_code_and_the_good_ones_are_selected(
    fleet: Fleet, bad: dict[str, str]
) -> None:
    good = fleet.pool(2 * CHUNK)
    local = fleet.root / "good.jpg"
    local.write_bytes(images.jpeg(seed=77))
    good.append(local.as_uri())
    mixed = [uri for pair in zip(good, bad, strict=False) for uri in pair] + good[len(bad) :] + list(bad)[len(good) :]
    report = run(fleet, [*mixed, *good[:3], good[0]], budget=len(good))
    assert codes(report.failed) == bad
    assert {chosen.uri for chosen in report.selected} == set(good)
    assert report.duplicates == 4 and report.pool == len(good) + len(bad)
    assert report.warnings == []


def test_a_budget_that_the_good_samples_cannot_fill_gives_all_of_them_and_a_warning(fleet: Fleet) -> None:
    good, missing = fleet.pool(3), [fleet.web.uri(f"/missing-{number}.jpg") for number in range(3)]
    report = run(fleet, good + missing, budget=5)
    assert {chosen.uri for chosen in report.selected} == set(good)
    assert report.warnings == ["3 samples chosen instead of 5: 3 of the pool failed"]


def test_a_job_whose_samples_all_fail_says_that_nothing_can_be_selected_and_why(fleet: Fleet) -> None:
    uris = [fleet.web.uri("/missing-a.jpg"), fleet.web.uri("/missing-b.jpg"), (fleet.root / "none.jpg").as_uri()]
    with pytest.raises(JobFailed, match="3 not_found") as caught:
        run(fleet, uris, budget=1)
    assert caught.value.problem is not None and caught.value.problem.code == "nothing_to_select"


# Samples that take their worker down.


@pytest.fixture(scope="module")
def poison(fleet: Fleet) -> tuple[str, str]:
    """Two images below every limit: decoding the first wants more memory than a child may take, the second is slow."""
    fleet.web.routes["/too-much-memory.png"] = answer(png(13_000, 13_000))
    fleet.web.routes["/slow-to-decode.png"] = answer(png(8_000, 8_000, bits=24))
    return fleet.web.uri("/too-much-memory.png"), fleet.web.uri("/slow-to-decode.png")


def test_a_sample_beyond_the_childs_memory_limit_is_given_up_and_the_others_are_selected(
    fleet: Fleet, poison: tuple[str, str]
) -> None:
    good = fleet.pool(CHUNK + 3)
    report = run(fleet, [*good[:2], poison[0], *good[2:]], budget=len(good))
    assert codes(report.failed) == {poison[0]: "worker_crash"}
    assert {chosen.uri for chosen in report.selected} == set(good)


@contextmanager
def out_of_memory_killer(fleet: Fleet, spare_bytes: int) -> Iterator[list[int]]:
    """As the kernel's: SIGKILL for a decoding child that grows by more than so. The children that it killed."""
    (parent,) = (psutil.Process(pid) for pid in fleet.rig.pids("preprocess"))
    is_over, killed = threading.Event(), []

    def watch() -> None:
        smallest: dict[int, int] = {}
        while not is_over.wait(0.01):
            for child in parent.children():
                try:
                    size = child.memory_info().rss
                    smallest[child.pid] = min(size, smallest.get(child.pid, size))
                    if size - smallest[child.pid] > spare_bytes:
                        child.kill()
                        killed.append(child.pid)
                        child.wait(10)
                except (psutil.NoSuchProcess, psutil.TimeoutExpired):
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


def test_a_sample_that_gets_its_worker_killed_each_time_is_given_up_and_the_others_are_selected(
    fleet: Fleet, poison: tuple[str, str]
) -> None:
    good = fleet.pool(CHUNK + 1)  # the last of them shares its chunk with the poison
    with out_of_memory_killer(fleet, spare_bytes=150_000_000) as killed:
        report = run(fleet, [*good, poison[1]], budget=len(good))
    assert codes(report.failed) == {poison[1]: "worker_crash"}
    assert {chosen.uri for chosen in report.selected} == set(good)
    # Twice with its neighbour and twice alone; a lease that ran out on a slow machine counts as once, too.
    assert 2 <= len(killed) <= 4, killed


# Models that cannot be used.


@pytest.mark.parametrize(
    ("model", "file"), [("missing", "missing.safetensors"), ("damaged", "damaged.safetensors"), ("code", "code.pt")]
)
def test_a_job_on_a_model_that_cannot_be_loaded_fails_and_the_fleet_lives_on(
    fleet: Fleet, model: str, file: str
) -> None:
    models = fleet.root.parent / "models"
    with pytest.raises(JobFailed) as caught:
        run(fleet, fleet.pool(2), budget=1, model=model)
    problem = caught.value.problem
    assert problem is not None and (problem.code, problem.field) == ("model_error", "model")
    assert file in problem.detail and str(models) not in problem.detail, problem.detail
    assert not (models / "pwned").exists(), "the pickle's code ran"
    assert len(run(fleet, fleet.pool(2), budget=1).selected) == 1


# Requests that name something wrong. As bare HTTP: the client would refuse most of them by itself.


def refused(fleet: Fleet, body: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{fleet.rig.server.url}/v1/jobs", json=body, timeout=20, trust_env=False)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    return problem


@pytest.mark.parametrize("budget", [0, -1, 3, 2**64, "3", True, 2.5, None], ids=repr)
def test_a_budget_that_is_no_number_from_1_to_the_pools_size_is_refused(fleet: Fleet, budget: object) -> None:
    problem = refused(fleet, {"uris": ["http://127.0.0.1/1.jpg", "http://127.0.0.1/2.jpg"], "budget": budget})
    assert problem["field"] == "budget", problem


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"strategy": "LeastConfidense"}, "strategy", "LeastConfidence"),
        ({"strategy": {"type": "KCenterSampling", "metrik": "l2"}}, "strategy.metrik", "metrik"),
        ({"model": "nul"}, "model", "null"),
        ({"uris": ["http://127.0.0.1/1.jpg", "gopher://127.0.0.1/1.jpg"]}, "uris.1", "scheme"),
        ({"uris": ["http://user:password@127.0.0.1/1.jpg"]}, "uris.0", "credentials"),
        ({"uris": []}, "uris", "at least 1"),
        ({"buget": 1}, "buget", "budget"),
    ],
    ids=["strategy", "parameter", "model", "scheme", "credentials", "empty pool", "key"],
)
def test_a_wrong_name_is_refused_with_its_place_and_the_nearest_known_name(
    fleet: Fleet, change: dict[str, Any], field: str, said: str
) -> None:
    problem = refused(fleet, {"uris": ["http://127.0.0.1/1.jpg"], "budget": 1} | change)
    assert problem["field"] == field and said in problem["detail"], problem


def test_a_query_of_an_empty_dataset_is_refused(fleet: Fleet) -> None:
    empty = fleet.client.create_dataset("empty")
    with pytest.raises(InvalidRequest, match="no unlabelled sample") as caught:
        fleet.client.query(budget=1, dataset=empty)
    assert caught.value.field in ("dataset_id", "budget")


def test_an_unknown_key_of_the_configuration_is_refused_with_its_path_and_the_nearest_known_name(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, pipeline={"chunk_sise": 8})
    with pytest.raises(ConfigError, match="nearest known: 'chunk_size'") as caught:
        Server(config)
    assert caught.value.field == "pipeline.chunk_sise"


def test_requests_that_were_refused_left_no_job_behind(fleet: Fleet) -> None:
    before = sum(1 for _ in fleet.client.jobs())
    refused(fleet, {"uris": ["http://127.0.0.1/1.jpg"], "budget": 2})
    assert sum(1 for _ in fleet.client.jobs()) == before


def test_the_fleet_is_whole_after_all_this(fleet: Fleet) -> None:
    """No process of it died, whatever came in; a decoding child is no process of the fleet's own."""
    until(lambda: not any(fleet.rig.metrics().in_flight.values()), 20, fleet.rig.metrics)
    died = {p.command.name: list(p.tail)[-5:] for p in fleet.rig.server.fleet.processes if p.restarts}
    assert died == {}
