"""The Triton backend against a real server: what it judges, what it bears, and what it never mixes."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alaas.config import Config, parse_config
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends import Backend, EngineAway, EngineChanged, open_backend, triton_grpc, triton_health
from alaas_workers.backends.triton_health import TritonHealth
from alaas_workers.model_cards import ModelCards
from alaas_workers.models import transform_for
from alaas_workers.stages.inference import Inference
from tests.support.images import jpeg
from tests.support.triton_models import CLASSES, CODE, SIDE, TRANSFORM, WIDTH, pbtxt, triton_config, write_model
from tests.support.triton_server import TritonServer

PROBABILITIES = [Feature.PROBABILITIES]
_names = (f"model{number}" for number in itertools.count())


_MORE = CODE.replace('"nan":', '"scores": logits, "nan":')
MODELS = {
    "plain": (pbtxt(), CODE),
    "copies": (pbtxt(copies=2, delay_s="0.1"), CODE),
    "all": (pbtxt(outputs={"logits": CLASSES, "probabilities": CLASSES, "embeddings": WIDTH}), CODE),
    "lone": (pbtxt(outputs={"scores": CLASSES}), _MORE),
    "half": (pbtxt(dtype="FP16", out_dtype="FP16"), CODE),
    "bytes": (pbtxt(dtype="UINT8"), CODE),
    "any-number": (pbtxt(max_batch=0), CODE),
    "nan": (pbtxt(outputs={"nan": CLASSES}), CODE),
    "fewer": (pbtxt(outputs={"probabilities": CLASSES, "fewer": WIDTH}), CODE),
    "fails": (pbtxt(), CODE.replace("time.sleep(", "raise RuntimeError('/secret/path') or time.sleep(")),
}


@pytest.fixture(scope="module", autouse=True)
def models(triton: TritonServer) -> None:
    """Loaded all at once, since each takes more than a second."""
    for name, (config, code) in MODELS.items():
        write_model(triton.repository, name, config, code)
    triton.load(*MODELS)


@pytest.fixture
def changing(triton: TritonServer) -> str:
    """The name of a model that the test may load again with other weights."""
    name = next(_names)
    write_model(triton.repository, name, pbtxt(alaas_fingerprint="ab"))
    triton.load(name)
    return name


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server that a test may kill, if it starts it again."""
    folder = tmp_path_factory.mktemp("own") / "models"
    write_model(folder, "m")
    with TritonServer(folder) as server:
        yield server


def images(config: Config, count: int) -> list[npt.NDArray[np.uint8]]:
    transform = transform_for("m", config.models["m"])
    return [transform.preprocess(jpeg(20, 18, seed=seed), SourcesConfig()) for seed in range(count)]


def infer(backend: Backend, config: Config, count: int = 20) -> dict[Feature, Any]:
    return backend.infer(images(config, count), backend.card.outputs or (), lambda: None)


def refusal(config: Config) -> ModelError:
    with pytest.raises(ModelError) as caught:
        open_backend("m", config).close()
    return caught.value


def test_a_job_s_features_are_those_of_the_model(triton: TritonServer) -> None:
    config = triton_config(triton.grpc, "plain")
    backend = open_backend("m", config)
    rows = infer(backend, config)
    backend.close()
    random = np.random.default_rng(0)
    first, second = random.normal(size=(3 * SIDE * SIDE, WIDTH)) / 8, random.normal(size=(WIDTH, CLASSES))
    batch = transform_for("m", config.models["m"]).to_input(images(config, 20))
    assert not isinstance(batch, dict)
    embeddings = batch.numpy().reshape(20, -1).astype(np.float64) @ first
    weights = np.exp(embeddings @ second)
    np.testing.assert_allclose(rows[Feature.EMBEDDINGS], embeddings, rtol=1e-5)
    np.testing.assert_allclose(rows[Feature.PROBABILITIES], weights / weights.sum(1, keepdims=True), atol=1e-6)


def test_both_wires_and_every_form_of_the_url_give_the_same_bits(triton: TritonServer) -> None:
    cards, rows = set(), set()
    for url in (triton.grpc, f"grpc://{triton.grpc}", triton.http):
        config = triton_config(url, "plain")
        backend = open_backend("m", config)
        cards.add(backend.card.model_dump_json())
        rows.add(infer(backend, config)[Feature.PROBABILITIES].tobytes())
        backend.close()
    assert len(cards) == len(rows) == 1


def test_logits_become_probabilities(triton: TritonServer) -> None:
    made = []
    for outputs in ({"logits": "logits"}, {"probabilities": "probabilities"}, {}):
        config = triton_config(triton.grpc, "all", outputs=outputs)
        backend = open_backend("m", config)
        made.append(infer(backend, config)[Feature.PROBABILITIES])
        backend.close()
    np.testing.assert_allclose(made[0], made[1], atol=1e-6)
    np.testing.assert_array_equal(made[1], made[2])


def test_a_lone_output_of_any_name_is_the_scores_and_logits_says_which(triton: TritonServer) -> None:
    config = triton_config(triton.grpc, "lone")
    backend = open_backend("m", config)
    assert backend.card.outputs == PROBABILITIES
    assert "outputs.embeddings" in backend.card.lacking[Feature.EMBEDDINGS]
    np.testing.assert_allclose(infer(backend, config)[Feature.PROBABILITIES].sum(1), 1, atol=1e-6)
    backend.close()
    error = refusal(triton_config(triton.grpc, "lone", logits=False))
    assert error.field == "models.m.outputs" and "no probabilities" in error.detail


def test_labels_that_do_not_exclude_one_another_are_told_by_a_sigmoid(triton: TritonServer) -> None:
    config = triton_config(triton.grpc, "lone", scores_of="labels")
    backend = open_backend("m", config)
    rows = infer(backend, config)
    backend.close()
    assert list(rows) == [Feature.LABEL_PROBABILITIES]
    assert 0 <= rows[Feature.LABEL_PROBABILITIES].min() and np.ptp(rows[Feature.LABEL_PROBABILITIES].sum(1)) > 0.1


def test_numbers_go_in_the_type_that_the_model_takes(triton: TritonServer) -> None:
    made = []
    for name in ("plain", "half"):
        config = triton_config(triton.grpc, name)
        backend = open_backend("m", config)
        made.append(infer(backend, config)[Feature.PROBABILITIES])
        backend.close()
    assert 0 < abs(made[0] - made[1]).max() < 0.01


def test_a_model_that_takes_bytes_gets_the_pixels_as_they_are(triton: TritonServer) -> None:
    made = []
    raw = {**TRANSFORM, "mean": [0, 0, 0], "std": [1, 1, 1]}
    for name, transform in (("plain", raw), ("bytes", raw), ("bytes", TRANSFORM)):
        config = triton_config(triton.grpc, name, transform=transform)
        backend = open_backend("m", config)
        made.append(infer(backend, config)[Feature.PROBABILITIES])
        backend.close()
    np.testing.assert_allclose(made[1], made[0], atol=1e-5)
    np.testing.assert_array_equal(made[2], made[1])


def test_batches_of_every_size_that_the_model_takes_give_the_same(triton: TritonServer) -> None:
    rows = []
    for name, batch_size in (("plain", 100), ("any-number", 11)):
        config = triton_config(triton.grpc, name, batch_size=batch_size)
        backend = open_backend("m", config)
        rows.append(infer(backend, config)[Feature.PROBABILITIES])
        backend.close()
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-6)


def test_a_sample_of_which_the_model_makes_no_number_fails_alone(triton: TritonServer) -> None:
    config = triton_config(triton.grpc, "nan")
    backend = open_backend("m", config)
    rows = infer(backend, config, 40)[Feature.PROBABILITIES]
    backend.close()
    bad = np.isnan(rows).any(axis=1)
    assert 0 < bad.sum() < 40 and np.isnan(rows[bad]).all()


@pytest.mark.parametrize(
    "name, settings, field, said",
    [
        ("plain", {"transform": {"resize": 24, "crop": 24}}, "models.m.transform", "takes 3 x 16 x 16"),
        ("plain", {"outputs": {"logits": "scores"}}, "models.m.outputs.logits", "'scores'"),
        ("plain", {"version": 7}, "models.m.name", "no such model or version"),
        ("nowhere", {}, "models.m.name", "no such model or version"),
        ("fewer", {"outputs": {"embeddings": "fewer"}}, "models.m.outputs", "1 x 8 embeddings for 8 samples"),
        ("fails", {}, "models.m.transform", "the worker's log"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_the_setting_to_mend(
    triton: TritonServer, name: str, settings: dict[str, Any], field: str, said: str
) -> None:
    for url in (triton.grpc, triton.http):
        error = refusal(triton_config(url, name, **settings))
        assert error.field == field and said in error.detail
        assert "127.0.0.1" not in error.detail and "/secret" not in error.detail


def test_a_server_that_is_not_there_is_away(triton: TritonServer) -> None:
    for url in ("127.0.0.1:1", "http://127.0.0.1:1", triton.http.replace("http://", ""), f"http://{triton.grpc}"):
        with pytest.raises(EngineAway):
            open_backend("m", triton_config(url, "m"))


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_silent_is_away_within_the_deadline(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(EngineAway):
            open_backend("m", triton_config(url, "m", {"connect_timeout_s": 0.5}))
    assert time.monotonic() - started < 3


def test_another_program_s_answers_are_no_model() -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            for body in (b'{"versions": "x"}', b"[" * 9000):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        error = refusal(triton_config(f"http://127.0.0.1:{server.getsockname()[1]}", "m"))
        thread.join()
    assert error.field == "models.m.name" and "not understood" in error.detail


def test_a_server_killed_and_started_again_gives_the_same_rows(own: TritonServer) -> None:
    configs = [triton_config(url, "m") for url in (own.grpc, own.http)]
    backends = [open_backend("m", config) for config in configs]
    before = [infer(*each) for each in zip(backends, configs, strict=True)]
    own.kill()
    for each in zip(backends, configs, strict=True):
        with pytest.raises(EngineAway):
            infer(*each)
    own.start()
    time.sleep(1)  # gRPC waits so long at most before it connects again
    after = [infer(*each) for each in zip(backends, configs, strict=True)]
    assert all(
        one[feature].tobytes() == other[feature].tobytes()
        for one, other in zip(before, after, strict=True)
        for feature in one
    )
    for backend in backends:
        backend.close()


def test_other_weights_under_the_same_name_are_never_mixed_in(triton: TritonServer, changing: str) -> None:
    config = triton_config(triton.grpc, changing)
    backend = open_backend("m", config)
    infer(backend, config)
    write_model(triton.repository, changing, pbtxt(seed="1", alaas_fingerprint="cd"))
    triton.load(changing)
    with pytest.raises(EngineChanged):
        infer(backend, config)
    again = open_backend("m", config)
    assert again.card.fingerprint != backend.card.fingerprint
    triton.unload(changing)
    with pytest.raises((EngineChanged, EngineAway)):
        infer(again, config)
    for each in (backend, again):
        each.close()


def test_weights_changed_while_a_chunk_is_computed_are_never_mixed_in(triton: TritonServer, changing: str) -> None:
    config = triton_config(triton.grpc, changing)
    backend = open_backend("m", config)
    changed = iter([True])

    def change() -> None:
        if next(changed, False):
            write_model(triton.repository, changing, pbtxt(seed="1", alaas_fingerprint="cd"))
            triton.load(changing)

    with pytest.raises(EngineChanged):
        backend.infer(images(config, 40), PROBABILITIES, change)
    backend.close()


def test_the_next_batches_are_asked_for_while_one_is_computed(triton: TritonServer) -> None:
    config = triton_config(triton.grpc, "copies")
    backend = open_backend("m", config)
    arrays = images(config, 96)
    started = time.monotonic()
    backend.infer(arrays, PROBABILITIES, lambda: None)
    backend.close()
    assert time.monotonic() - started < 12 * 0.1 * 0.9  # 12 batches, two at a time


def test_a_server_that_hangs_costs_no_more_than_its_deadlines(own: TritonServer) -> None:
    config = triton_config(own.grpc, "m", {"timeout_s": 0.5, "connect_timeout_s": 0.5, "attempts": 2})
    backend = open_backend("m", config)
    own.freeze()
    started = time.monotonic()
    with pytest.raises(EngineAway):
        infer(backend, config)
    assert time.monotonic() - started < 3
    own.thaw()
    infer(backend, config)
    backend.close()


def test_readiness_follows_the_server_and_each_of_its_models(
    triton: TritonServer, changing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_health, "FRESH_S", 0.0)
    by_both = [TritonHealth(triton_config(url, changing)) for url in (triton.grpc, triton.http)]
    assert [looked.ok for health in by_both if (looked := health.look())] == [True, True]
    triton.unload(changing)
    assert [looked.detail for health in by_both if (looked := health.look())] == ["does not serve m"] * 2
    away = TritonHealth(triton_config("127.0.0.1:1", "m")).look()
    assert away is not None and (away.ok, away.detail) == (False, "does not answer")


def test_asking_a_silent_server_for_its_readiness_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        health = TritonHealth(triton_config(f"127.0.0.1:{silent.getsockname()[1]}", "m"))
        started = time.monotonic()
        looks = [health.look() for _ in range(5)]
        assert time.monotonic() - started < 3
    assert all(looked is not None and not looked.ok for looked in looks)


def test_readiness_says_nothing_where_no_model_is_on_triton() -> None:
    assert TritonHealth(parse_config({})).look() is None


def test_what_is_known_of_a_model_follows_the_server_while_no_job_looks(
    triton: TritonServer, changing: str, redis_url: str
) -> None:
    raw = triton_config(triton.grpc, changing, {"attempts": 1}).model_dump(mode="json", exclude_none=True)
    config = parse_config(raw | {"broker": {"url": redis_url}, "cache": {"url": redis_url}})
    inference, cards = Inference(config), ModelCards.open(config)
    inference.refresh()
    assert cards.get("m") == ModelCard(name="m", modality="vision")  # nobody has asked for it
    triton.unload(changing)
    inference.describe("m")
    assert "no such model" in (cards.get("m").error or "")
    triton.load(changing)
    inference.refresh()
    first = cards.get("m")
    assert first.fingerprint is not None and first.error is None
    triton.unload(changing)  # as in a server that starts again, and answers before it has loaded its models
    inference.refresh()
    assert cards.get("m") == first
    cards.publish(ModelCard(name="m", modality="vision", error="another worker's"))
    write_model(triton.repository, changing, pbtxt(seed="1", alaas_fingerprint="cd"))
    triton.load(changing)
    inference.refresh()
    second = cards.get("m")
    assert second.error is None and None is not second.fingerprint != first.fingerprint
    cards.publish(ModelCard(name="m", modality="vision", error="another worker's"))
    inference.refresh()
    assert cards.get("m") == second


def test_a_batch_that_no_message_can_hold_is_refused_before_the_job(
    triton: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_grpc, "MAX_ANSWER_BYTES", 10_000)
    error = refusal(triton_config(triton.grpc, "plain", batch_size=16))
    assert error.field == "models.m.transform" and "first batch" in error.detail
