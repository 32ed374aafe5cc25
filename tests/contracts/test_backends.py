"""What every backend must do. A new engine is done when it is on this list and passes: docs/how-to-add-a-backend.md."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import entr

from alaas.config import Config
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import OF_PASSES, SCORES, Feature
from alaas_workers.backends import ENGINES, Backend, bad_rows, engine_of, open_backend
from alaas_workers.models import transform_for
from tests.support.detectors import detector_config
from tests.support.images import jpeg
from tests.support.onnx_models import onnx_config
from tests.support.sound_models import sound_config, wav2vec2_config
from tests.support.sounds import wav
from tests.support.tiny_models import config_of, drop_config, tiny_config
from tests.support.tiny_texts import text, text_config
from tests.support.tiny_vision import write_image_model
from tests.support.triton_models import pbtxt, triton_config, write_model
from tests.support.triton_server import TritonServer

CONFIGS: dict[str, Callable[[Path], Config]] = {
    "torch": lambda folder: tiny_config(folder, batch_size=8),
    "torch, three copies": lambda folder: tiny_config(folder, batch_size=8, instance_group=[{"count": 3}]),
    "torch, batches of one": lambda folder: tiny_config(folder, batch_size=1),
    "torch, dropout": lambda folder: drop_config(folder, batch_size=8),
    "torch, dropout, batches of 16": lambda folder: drop_config(folder, batch_size=16),
    "torch, labels": lambda folder: tiny_config(folder, batch_size=8, scores_of="labels"),
    "torch, a detector": lambda folder: detector_config(folder, max_boxes=30),
    "torch, HuggingFace": lambda folder: config_of(source="huggingface", repo=write_image_model(folder), batch_size=8),
    "onnx": lambda folder: onnx_config(folder, batch_size=8),
    "onnx, two copies": lambda folder: onnx_config(folder, batch_size=16, instance_group=[{"count": 2}]),
    "onnx, batches of one": lambda folder: onnx_config(folder, rows=1, batch_size=8),
    "text": lambda folder: text_config(folder, batch_size=8),
    "text, two copies": lambda folder: text_config(folder, batch_size=16, instance_group=[{"count": 2}]),
    "audio, HuggingFace with a mask": lambda folder: wav2vec2_config(folder, masks=True, batch_size=8),
    "audio, a network of one's own": lambda folder: sound_config(folder, batch_size=16),
    "null": lambda _: config_of(source="null", batch_size=8),
    "null, of labels": lambda _: config_of(source="null", scores_of="labels", batch_size=8),
    "null, of boxes": lambda _: config_of(source="null", scores_of="boxes", batch_size=8),
    "null, of texts": lambda _: config_of(source="null", modality="text", batch_size=8),
    "null, of sounds": lambda _: config_of(source="null", modality="audio", batch_size=8),
    "triton, by gRPC": lambda _: triton_config("grpc://127.0.0.1:1", "contract-2", batch_size=8),
    "triton, by HTTP": lambda _: triton_config("http://127.0.0.1:1", "contract-1", batch_size=8),
    "triton, batches of one": lambda _: triton_config("grpc://127.0.0.1:1", "contract-1", batch_size=1),
}

SAMPLES: dict[str, Callable[[int], bytes]] = {
    "vision": lambda seed: jpeg(*[(12, 10), (64, 48)][seed % 2], seed=seed),
    "text": text,
    "audio": lambda seed: wav(0.1 + 0.05 * (seed % 2), seed=seed),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    made = CONFIGS[request.param](tmp_path)
    return with_server(made, request.getfixturevalue("triton")) if made.triton else made


def with_server(config: Config, server: TritonServer) -> Config:
    """At the server's address, with its models `contract-1` and `contract-2`, of as many copies."""
    for name, copies in {"contract-1": 1, "contract-2": 2}.items():
        if not (server.repository / name).exists():
            write_model(server.repository, name, pbtxt(copies=copies))
            server.load(name)
    assert config.triton is not None
    url = server.http if config.triton.url.startswith("http") else server.grpc
    return config.model_copy(update={"triton": config.triton.model_copy(update={"url": url})})


@pytest.fixture
def backend(config: Config) -> Iterator[Backend]:
    opened = open_backend("m", config)
    yield opened
    opened.close()


@pytest.fixture
def arrays(config: Config) -> list[npt.NDArray[np.uint8]]:
    """37 samples as preprocess gives them: images of two sizes, texts of many lengths, sounds of two."""
    transform = transform_for("m", config.models["m"])
    sample = SAMPLES[config.models["m"].modality]
    return [transform.preprocess(sample(seed), SourcesConfig()) for seed in range(37)]


def _nothing() -> None:
    pass


def _all(backend: Backend) -> list[Feature]:
    return list(backend.card.outputs or ())


def _both(backend: Backend) -> list[Feature]:
    """The scores, of whatever they are, and the embedding: what one forward pass gives."""
    (scores,) = [feature for feature in SCORES.values() if feature in _all(backend)]
    return [scores, Feature.EMBEDDINGS]


def test_every_engine_is_on_the_list(tmp_path: Path) -> None:
    assert {engine_of(make(tmp_path).models["m"]) for make in CONFIGS.values()} == set(ENGINES)


def test_the_card_is_complete(backend: Backend) -> None:
    may_lack = {"error", "boxes", "input_size"}  # the last where sounds keep their own lengths
    assert None not in backend.card.model_dump(exclude=may_lack).values()
    assert backend.card.name == "m"


def test_features_are_float32_rows_of_the_widths_that_the_card_tells(backend: Backend, arrays: Any) -> None:
    features = backend.infer(arrays, _all(backend), _nothing)
    assert set(_both(backend)) <= set(features) == set(_all(backend))
    assert {feature: rows.shape for feature, rows in features.items()} == {
        feature: (37, backend.card.width(feature)) for feature in features
    }
    assert all(rows.dtype == np.float32 for rows in features.values())
    assert not bad_rows(features).any()


def test_what_a_model_does_not_give_is_refused_with_the_reason(backend: Backend, arrays: Any) -> None:
    assert {*_all(backend), *backend.card.lacking} == set(Feature)
    for feature, why in backend.card.lacking.items():
        with pytest.raises(ModelError, match=why):
            backend.infer(arrays, [feature], _nothing)


def test_the_sums_of_passes_are_those_of_the_passes(backend: Backend, arrays: Any) -> None:
    if Feature.PASSES not in _all(backend):
        pytest.skip("a model without dropout")
    made = backend.infer(arrays, OF_PASSES, _nothing)
    classes = backend.card.classes or 0
    passes = made[Feature.PASSES].reshape(37, -1, classes).astype(np.float64)
    assert passes.shape[1] == backend.card.passes and len(np.unique(passes[0], axis=0)) > 1
    np.testing.assert_allclose(passes.sum(axis=2), 1, atol=1e-5)
    sums = made[Feature.PASS_SUMS]
    np.testing.assert_allclose(sums[:, :classes], passes.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(sums[:, classes], entr(passes).sum(axis=2).mean(axis=1), atol=1e-6)


def test_distances_to_a_boundary_are_not_below_zero(backend: Backend, arrays: Any) -> None:
    if Feature.BOUNDARY_DISTANCES not in _all(backend):
        pytest.skip("a model without gradients")
    rows = backend.infer(arrays, [Feature.BOUNDARY_DISTANCES], _nothing)[Feature.BOUNDARY_DISTANCES]
    assert (rows >= 0).all() and len(np.unique(rows)) > 5


def test_scores_are_probabilities_and_those_of_classes_sum_to_one(backend: Backend, arrays: Any) -> None:
    scores = _both(backend)[0]
    rows = backend.infer(arrays, [scores], _nothing)[scores]
    assert (rows >= 0).all() and (rows <= 1).all() and len(np.unique(rows, axis=0)) == len(arrays)
    if scores is Feature.PROBABILITIES:
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    if scores is Feature.BOX_SCORES:
        assert (np.diff(rows, axis=1) <= 0).all()


def test_only_what_is_asked_for_is_given(backend: Backend, arrays: Any) -> None:
    all_at_once = backend.infer(arrays, _all(backend), _nothing)
    for feature in _all(backend):
        alone = backend.infer(arrays, [feature], _nothing)
        assert list(alone) == [feature]
        np.testing.assert_array_equal(alone[feature], all_at_once[feature])


@pytest.mark.parametrize("chunk", [5, 13, 64])
def test_a_row_does_not_depend_on_the_chunk(backend: Backend, arrays: Any, chunk: int) -> None:
    wanted = _all(backend)
    whole = backend.infer(arrays, wanted, _nothing)
    parts = [backend.infer(arrays[start : start + chunk], wanted, _nothing) for start in range(0, len(arrays), chunk)]
    for feature in wanted:
        assert np.concatenate([part[feature] for part in parts]).tobytes() == whole[feature].tobytes()


def test_a_row_does_not_depend_on_the_order(backend: Backend, arrays: Any) -> None:
    forwards = backend.infer(arrays, _all(backend), _nothing)
    backwards = backend.infer(arrays[::-1], _all(backend), _nothing)
    for feature in forwards:
        np.testing.assert_array_equal(backwards[feature][::-1], forwards[feature])


def test_different_images_get_different_rows(backend: Backend, arrays: Any) -> None:
    rows = backend.infer(arrays, [Feature.EMBEDDINGS], _nothing)[Feature.EMBEDDINGS]
    assert len(np.unique(rows, axis=0)) == len(arrays)


def test_opened_again_it_gives_the_same(backend: Backend, config: Config, arrays: Any) -> None:
    again = open_backend("m", config)
    try:
        assert again.card == backend.card
        first, second = (each.infer(arrays, _all(backend), _nothing) for each in (backend, again))
        assert all(first[feature].tobytes() == second[feature].tobytes() for feature in first)
    finally:
        again.close()


def test_several_threads_at_once_get_their_own_rows(backend: Backend, arrays: Any) -> None:
    wanted = _all(backend)
    expected = backend.infer(arrays, wanted, _nothing)
    got: dict[int, bool] = {}

    def infer(part: int) -> None:
        rows = slice(part * 9, part * 9 + 9)
        for _ in range(5):
            features = backend.infer(arrays[rows], wanted, _nothing)
            got[part] = all(np.array_equal(features[each], expected[each][rows]) for each in wanted)

    threads = [threading.Thread(target=infer, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {0: True, 1: True, 2: True, 3: True}


def test_progress_is_told_while_it_works(backend: Backend, config: Config, arrays: Any) -> None:
    calls: list[None] = []
    backend.infer(arrays, _both(backend), lambda: calls.append(None))
    assert len(calls) >= len(arrays) // config.models["m"].batch_size


def test_an_error_of_the_progress_ends_the_work_and_leaves_the_backend_usable(backend: Backend, arrays: Any) -> None:
    def lost() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        backend.infer(arrays, _both(backend), lost)
    assert not bad_rows(backend.infer(arrays, _both(backend), _nothing)).any()


def test_no_arrays_give_no_rows(backend: Backend) -> None:
    features = backend.infer([], _all(backend), _nothing)
    assert {feature: rows.shape for feature, rows in features.items()} == {
        feature: (0, backend.card.width(feature)) for feature in _all(backend)
    }
    assert bad_rows(features).shape == (0,)


def test_it_may_be_closed_twice(backend: Backend) -> None:
    backend.close()
    backend.close()


def test_a_model_that_no_one_configured_is_refused(config: Config) -> None:
    with pytest.raises(ModelError, match="configured: m"):
        open_backend("other", config)
