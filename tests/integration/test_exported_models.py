"""What `alaas export triton` writes, loaded by a real tritonserver, beside the same model in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alaas.config import Config, parse_config
from alaas.config.sources import SourcesConfig
from alaas_workers.backends import open_backend
from alaas_workers.export.triton import export
from alaas_workers.models import transform_for
from tests.support.images import jpeg
from tests.support.onnx_models import onnx_config
from tests.support.tiny_models import TRANSFORM, config_of, drop_config, seeded, tiny_config
from tests.support.tiny_texts import text, text_config
from tests.support.triton_server import TritonServer, require_triton


def script_config(folder: Path) -> Config:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making TorchScript is deprecated; reading it is what we promise
        script: Any = torch.jit.script(seeded(4))
    script.save(str(folder / "tiny.ts"))
    return config_of(source="file", path=folder / "tiny.ts", transform=TRANSFORM, batch_size=8)


KINDS: dict[str, Callable[[Path], Config]] = {
    "weights": lambda folder: tiny_config(folder, batch_size=16),
    "two_copies": lambda folder: drop_config(folder, batch_size=16, instance_group=[{"count": 2}]),
    "torchscript": script_config,
    "onnx": lambda folder: onnx_config(folder, batch_size=16),
    "onnx_of_three": lambda folder: onnx_config(folder, rows=3, batch_size=16),
    "labels": lambda folder: tiny_config(folder, batch_size=16, scores_of="labels"),
    "reduced": lambda folder: tiny_config(folder, batch_size=16, precision="bf16"),
    "any_size": lambda folder: tiny_config(folder, batch_size=16, transform={"resize": 16}),
    "text": lambda folder: text_config(folder, batch_size=8),
    "text_embeddings": lambda folder: text_config(folder, "BertModel", batch_size=8),
}


ALWAYS = ("onnx_of_three", "text")  # each takes Triton a process that imports torch


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    repository = tmp_path_factory.mktemp("triton") / "models"
    repository.mkdir()
    with TritonServer(repository, explicit=True) as server:
        yield server


def served(config: Config, server: TritonServer) -> Config:
    """The same model, computed by the server."""
    (name, model), *_ = config.models.items()
    keys = ("modality", "transform", "text", "batch_size", "scores_of", "repo")
    said = {key: value for key, value in model.model_dump(mode="json").items() if key in keys}
    triton = {"url": server.grpc}
    if model.source == "huggingface":
        return parse_config({"models": {name: said | {"source": "huggingface", "engine": "triton"}}, "triton": triton})
    return parse_config({"models": {name: said | {"source": "triton"}}, "triton": triton})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in KINDS]
)
def test_triton_gives_the_rows_of_the_engine_here(name: str, tmp_path: Path, server: TritonServer) -> None:
    config = Config(models={name: KINDS[name](tmp_path).models["m"]})
    export(name, config, server.repository)
    server.load(name)
    samples = [text(seed) if "text" in name else jpeg(20 + seed % 2, 16, seed=seed) for seed in range(21)]
    transform = transform_for(name, config.models[name])
    arrays = [transform.preprocess(sample, SourcesConfig()) for sample in samples]
    here, there = open_backend(name, config), open_backend(name, served(config, server))
    try:
        assert there.card.fingerprint != here.card.fingerprint
        features = [each for each in there.card.outputs or () if each in (here.card.outputs or ())]
        mine, its = (backend.infer(arrays, features, lambda: None) for backend in (here, there))
        assert features
        for feature in features:
            np.testing.assert_allclose(its[feature], mine[feature], atol=2e-6, rtol=1e-5)
    finally:
        here.close()
        there.close()
        server.unload(name)
