"""What `alaas export triton` writes, loaded by a real tritonserver, beside the same model in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from alaas.config import Config, parse_config
from alaas.config.sources import SourcesConfig
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.export.triton import export
from alaas_workers.models import transform_for
from strategies import Pool, get_strategy
from tests.support.detectors import detector_config
from tests.support.images import jpeg
from tests.support.onnx_models import onnx_config
from tests.support.sound_models import sound_config, wav2vec2_config
from tests.support.sounds import wav
from tests.support.tiny_models import TRANSFORM, FlatNet, config_of, drop_config, saved, seeded, tiny_config
from tests.support.tiny_texts import text, text_config
from tests.support.tiny_vision import write_image_model
from tests.support.triton_server import TritonServer, require_triton


def script_config(folder: Path) -> Config:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making TorchScript is deprecated; reading it is what we promise
        script: Any = torch.jit.script(seeded(4))
    script.save(str(folder / "tiny.ts"))
    return config_of(source="file", path=folder / "tiny.ts", transform=TRANSFORM, batch_size=8)


NET = """
import torch
from tests.support.tiny_models import TinyNet

class Branches(TinyNet):
    def forward(self, batch):
        dark = batch.mean((1, 2, 3)) < 0
        if dark.any():  # which torch.export cannot capture; a row depends on its image alone all the same
            batch = torch.where(dark[:, None, None, None], -batch, batch)
        return super().forward(batch)
"""


def branching_config(folder: Path) -> Config:
    (folder / "net.py").write_text(NET)
    return tiny_config(folder, batch_size=16, builder=f"{folder}/net.py:Branches")


KINDS: dict[str, Callable[[Path], Config]] = {
    "weights": lambda folder: tiny_config(folder, batch_size=16),
    "two_copies": lambda folder: drop_config(folder, batch_size=16, instance_group=[{"count": 2}]),
    "torchscript": script_config,
    "onnx": lambda folder: onnx_config(folder, batch_size=16),
    "onnx_of_three": lambda folder: onnx_config(folder, rows=3, batch_size=16),
    "labels": lambda folder: tiny_config(folder, batch_size=16, scores_of="labels"),
    "reduced": lambda folder: tiny_config(folder, batch_size=16, precision="bf16"),
    "any_size": lambda folder: tiny_config(folder, batch_size=16, transform={"resize": 16}),
    "branches": branching_config,
    "detector": lambda folder: detector_config(folder, max_boxes=20),
    "text": lambda folder: text_config(folder, batch_size=8),
    "sounds": lambda folder: sound_config(folder, batch_size=8),
    "wav2vec2": lambda folder: wav2vec2_config(folder, masks=True, batch_size=8),
    "vit": lambda folder: config_of(source="huggingface", repo=write_image_model(folder / "vit"), batch_size=8),
    "text_embeddings": lambda folder: text_config(folder, "BertModel", batch_size=8),
}


ALWAYS = ("onnx_of_three", "text", "detector")  # each takes Triton a process that imports torch

STRATEGIES = {"detector": "DetectionUncertainty", "branches": "LeastConfidence"}
ALONE = tuple(STRATEGIES)  # run their own code; nothing of them is left but what was exported


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    repository = tmp_path_factory.mktemp("triton") / "models"
    repository.mkdir()
    with TritonServer(repository, explicit=True, with_alaas=True) as server:
        yield server


def served(config: Config, server: TritonServer) -> Config:
    """The same model, computed by the server."""
    (name, model), *_ = config.models.items()
    keys = ("modality", "transform", "text", "audio", "batch_size", "scores_of", "repo")
    said = {key: value for key, value in model.model_dump(mode="json").items() if key in keys}
    triton = {"url": server.grpc}
    if model.source == "huggingface":
        return parse_config({"models": {name: said | {"source": "huggingface", "engine": "triton"}}, "triton": triton})
    return parse_config({"models": {name: said | {"source": "triton"}}, "triton": triton})


def sample(modality: str, seed: int) -> bytes:
    if modality == "text":
        return text(seed)
    return wav(0.3 + 0.05 * (seed % 3), seed=seed) if modality == "audio" else jpeg(20 + seed % 2, 16, seed=seed)


def selected(features: Mapping[Feature, Any], strategy: str) -> list[int]:
    count = len(next(iter(features.values())))
    pool = Pool([str(row) for row in range(count)], {feature.value: rows for feature, rows in features.items()}, seed=1)
    return [int(row) for row in get_strategy(strategy).select(pool, 5).indices]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in KINDS]
)
def test_triton_gives_the_rows_of_the_engine_here(name: str, tmp_path: Path, server: TritonServer) -> None:
    config = Config(models={name: KINDS[name](tmp_path).models["m"]})
    here = open_backend(name, config)
    export(name, config, server.repository)
    for path in tmp_path.iterdir():
        if name in ALONE:
            path.unlink()
    server.load(name)
    samples = [sample(config.models[name].modality, seed) for seed in range(21)]
    transform = transform_for(name, config.models[name])
    arrays = [transform.preprocess(sample, SourcesConfig()) for sample in samples]
    there = open_backend(name, served(config, server))
    try:
        assert there.card.fingerprint != here.card.fingerprint
        features = [each for each in there.card.outputs or () if each in (here.card.outputs or ())]
        mine, its = (backend.infer(arrays, features, lambda: None) for backend in (here, there))
        assert features
        if name in ALONE:
            assert selected(mine, STRATEGIES[name]) == selected(its, STRATEGIES[name])
        for feature in features:
            np.testing.assert_allclose(its[feature], mine[feature], atol=2e-6, rtol=1e-5)
    finally:
        here.close()
        there.close()
        server.unload(name)


@pytest.mark.slow
def test_an_image_of_a_size_that_the_model_does_not_take_fails_alone(tmp_path: Path, server: TritonServer) -> None:
    path = saved(FlatNet(), tmp_path / "flat.pt")
    builder = "tests.support.tiny_models:FlatNet"
    settings = config_of(source="file", path=path, builder=builder, transform={"resize": 16}, batch_size=8).models["m"]
    config = Config(models={"flat": settings})
    export("flat", config, server.repository)
    server.load("flat")
    arrays = [np.full((3, 16, width), 7, np.uint8) for width in (16, 24, 16)]
    for given in (config, served(config, server)):
        backend = open_backend("flat", given)
        rows = backend.infer(arrays, [Feature.PROBABILITIES], lambda: None)[Feature.PROBABILITIES]
        backend.close()
        assert np.isfinite(rows).all(axis=1).tolist() == [True, False, True]
    server.unload("flat")


@pytest.mark.slow
def test_a_triton_without_alaas_says_what_a_model_with_its_own_code_needs(tmp_path: Path, triton: TritonServer) -> None:
    export("needy", Config(models={"needy": branching_config(tmp_path).models["m"]}), triton.repository)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        triton.load("needy")
    assert "Triton's Python needs alaas[server]" in caught.value.response.text
