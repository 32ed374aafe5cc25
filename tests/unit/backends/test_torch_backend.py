from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.backends import Backend, bad_rows, open_backend
from alaas_workers.models.loaded import LoadedModel
from tests.support.tiny_models import Divides, FlatNet, config_of, saved, tiny_config

Images = list[npt.NDArray[np.uint8]]
BOTH = (Feature.PROBABILITIES, Feature.EMBEDDINGS)


def _images(count: int, side: int = 32) -> Images:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, side, side), np.uint8) for _ in range(count)]


def _nothing() -> None:
    pass


def _bytes(backend: Backend, images: Images, chunk: int) -> bytes:
    """The features of `images` given in chunks, as bytes in the order of the images."""
    parts = [backend.infer(images[start : start + chunk], BOTH, _nothing) for start in range(0, len(images), chunk)]
    return b"".join(part[feature].tobytes() for feature in BOTH for part in parts)


@pytest.mark.parametrize(("channels_last", "cuts"), [(True, [(16, 64), (8, 5), (32, 13)]), (False, [(8, 64), (12, 5)])])
def test_a_resnet_gives_the_same_bits_whatever_the_batch_and_the_chunk(
    channels_last: bool, cuts: list[tuple[int, int]]
) -> None:
    images = _images(14)
    seen = set()
    for batch_size, chunk in cuts:
        config = config_of("resnet18", channels_last=channels_last, batch_size=batch_size)
        backend = open_backend("resnet18", config)
        seen.add(_bytes(backend, images, chunk))
        backend.close()
    assert len(seen) == 1


def test_a_sample_with_nan_or_inf_is_blanked_and_the_others_are_not(tmp_path: Path) -> None:
    settings = {"path": saved(Divides(), tmp_path / "d.pt"), "builder": "tests.support.tiny_models:Divides"}
    transform = {"crop": 4, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    backend = open_backend("m", tiny_config(tmp_path, **settings, transform=transform))
    images = _images(20, side=4)
    images[3][:] = 0  # 0 / 0
    images[11][0, 0, 0] = 0  # x / 0
    features = backend.infer(images, [Feature.PROBABILITIES], _nothing)
    assert np.flatnonzero(bad_rows(features)).tolist() == [3, 11]
    assert np.isnan(features[Feature.PROBABILITIES][[3, 11]]).all()


def test_a_feature_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    backend = open_backend("m", config_of(name="squeezenet1_1", transform={"resize": 32, "crop": 32}))
    with pytest.raises(ModelError, match="no embeddings"):
        backend.infer(_images(1), BOTH, _nothing)


def test_outputs_of_another_length_than_the_inputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend("m", tiny_config(tmp_path))
    honest = LoadedModel.outputs
    monkeypatch.setattr(LoadedModel, "outputs", lambda *given: {key: rows[:3] for key, rows in honest(*given).items()})
    with pytest.raises(ModelError, match="for 8 samples"):
        backend.infer(_images(8), BOTH, _nothing)


def test_a_gpu_that_is_not_here_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with caplog.at_level(logging.WARNING):
        backend = open_backend("m", tiny_config(tmp_path, instance_group=[{"count": 2, "kind": "KIND_GPU"}]))
    assert backend.card.device == "cpu"
    assert len([record for record in caplog.records if "runs on the CPU" in record.getMessage()]) == 1


def test_while_one_batch_computes_the_next_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend("m", tiny_config(tmp_path, batch_size=8))
    computing, prepared_meanwhile = threading.Event(), threading.Event()
    honest, prepare = LoadedModel.outputs, type(backend._model.transform).to_input  # type: ignore[attr-defined]

    def outputs(self: LoadedModel, batch: torch.Tensor, *options: Any) -> Any:
        computing.set()
        assert prepared_meanwhile.wait(20)
        return honest(self, batch, *options)

    def to_input(self: Any, arrays: Any, *args: Any, **options: Any) -> Any:
        if computing.is_set():
            prepared_meanwhile.set()
        return prepare(self, arrays, *args, **options)

    monkeypatch.setattr(LoadedModel, "outputs", outputs)
    monkeypatch.setattr("alaas_workers.transforms.vision.VisionTransform.to_input", to_input)
    first = threading.Thread(target=backend.infer, args=(_images(8), BOTH, _nothing))
    first.start()
    assert computing.wait(20)
    backend.infer(_images(8), BOTH, _nothing)
    first.join()


def test_a_copy_runs_in_a_thread_of_its_own_with_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    honest = LoadedModel.outputs

    def outputs(self: LoadedModel, batch: torch.Tensor, *options: Any) -> Any:
        seen[threading.current_thread().name] = torch.get_num_threads()
        return honest(self, batch, *options)

    monkeypatch.setattr(LoadedModel, "outputs", outputs)
    threads = torch.get_num_threads()
    try:
        backend = open_backend("m", tiny_config(tmp_path, instance_group=[{"count": 2}]))
        seen.clear()
        backend.infer(_images(64), BOTH, _nothing)
        assert seen and set(seen.values()) == {max(1, threads // 2)}
        assert threading.current_thread().name not in seen
        backend.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("model-m")]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_gives_nearly_the_same_in_float32(tmp_path: Path, precision: str) -> None:
    images = _images(8)
    exact = open_backend("m", tiny_config(tmp_path)).infer(images, BOTH, _nothing)
    rough = open_backend("m", tiny_config(tmp_path, precision=precision)).infer(images, BOTH, _nothing)
    for feature in BOTH:
        assert rough[feature].dtype == np.float32
        np.testing.assert_allclose(rough[feature], exact[feature], atol=0.02)
    assert not np.array_equal(rough[Feature.EMBEDDINGS], exact[Feature.EMBEDDINGS])


def test_without_a_crop_images_of_each_size_go_together(tmp_path: Path) -> None:
    backend = open_backend("m", tiny_config(tmp_path, transform={}))
    images = [image for side in (9, 20, 9, 31) for image in _images(2, side)]
    together = backend.infer(images, BOTH, _nothing)
    for row, image in enumerate(images):
        alone = backend.infer([image], BOTH, _nothing)
        assert all(np.array_equal(alone[feature][0], together[feature][row]) for feature in BOTH)


def test_without_a_crop_an_image_that_the_network_does_not_take_fails_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"path": saved(FlatNet(), tmp_path / "f.pt"), "builder": "tests.support.tiny_models:FlatNet"}
    backend = open_backend("m", tiny_config(tmp_path, **settings, transform={"resize": 16}))
    images = [*_images(3, 16), np.zeros((3, 16, 20), np.uint8), *_images(2, 32)]
    features = backend.infer(images, BOTH, _nothing)
    assert np.flatnonzero(bad_rows(features)).tolist() == [3]
    backend.infer(images, BOTH, _nothing)
    told = [record for record in caplog.records if "fails on 1 samples" in record.message]
    assert [bool(record.exc_info) for record in told] == [True, False]  # a user must not fill the log with tracebacks


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler, not ours
def test_a_compiled_model_gives_nearly_the_same_from_batches_of_one_size(tmp_path: Path) -> None:
    images = _images(21)
    exact = open_backend("m", tiny_config(tmp_path, batch_size=8)).infer(images, BOTH, _nothing)
    compiled = open_backend("m", tiny_config(tmp_path, batch_size=8, compile=True)).infer(images, BOTH, _nothing)
    for feature in BOTH:
        np.testing.assert_allclose(compiled[feature], exact[feature], atol=1e-5)
