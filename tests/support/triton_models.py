"""Small models of Triton's Python backend, in numpy alone, and configurations that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alaas.config import Config, parse_config

SIDE = 16
CLASSES = 5
WIDTH = 8
TRANSFORM: dict[str, Any] = {"resize": SIDE, "crop": SIDE}

CODE = """\
import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.told = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.outputs = {each["name"]: pb_utils.triton_string_to_numpy(each["data_type"]) for each in config["output"]}
        random = np.random.default_rng(int(self.told["seed"]))
        self.first = random.normal(size=(3 * 16 * 16, 8)) / 8
        self.second = random.normal(size=(8, 5))

    def execute(self, requests):
        time.sleep(float(self.told.get("delay_s", "0")))
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "input").as_numpy()
        if images.dtype == np.uint8:
            images = images / 255.0
        embeddings = images.reshape(len(images), -1).astype(np.float64) @ self.first
        logits = embeddings @ self.second
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        made = {
            "probabilities": weights / weights.sum(axis=1, keepdims=True),
            "logits": logits,
            "embeddings": embeddings,
            "fewer": embeddings[:1],
            "nan": np.where(images.mean(axis=(1, 2, 3), keepdims=True)[:, 0, 0] > 0.5, np.nan, logits),
        }
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, made[name].astype(dtype)) for name, dtype in self.outputs.items()]
        )
"""


def pbtxt(
    *,
    outputs: dict[str, int] | None = None,
    size: str = f"3, {SIDE}, {SIDE}",
    dtype: str = "FP32",
    out_dtype: str = "FP32",
    max_batch: int = 16,
    copies: int = 1,
    **parameters: str,
) -> str:
    """A config.pbtxt for CODE. `outputs`: width by name; `parameters`: seed, delay_s, alaas_fingerprint."""
    given = outputs or {"probabilities": CLASSES, "embeddings": WIDTH}
    rows = "" if max_batch else "-1, "
    lines = [
        'backend: "python"',
        f"max_batch_size: {max_batch}",
        f'input [{{ name: "input" data_type: TYPE_{dtype} dims: [{rows}{size}] }}]',
        *(f'output [{{ name: "{k}" data_type: TYPE_{out_dtype} dims: [{rows}{v}] }}]' for k, v in given.items()),
        f"instance_group [{{ kind: KIND_CPU count: {copies} }}]",
        *(
            f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}'
            for k, v in ({"seed": "0"} | parameters).items()
        ),
    ]
    return "\n".join(lines) + "\n"


def write_model(repository: Path, name: str, config: str = "", code: str = CODE, version: int = 1) -> None:
    folder = repository / name
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config or pbtxt())
    (folder / str(version) / "model.py").write_text(code)


def triton_config(url: str, name: str, server: dict[str, Any] | None = None, **settings: Any) -> Config:
    """A configuration of one model, `m`, which the server at `url` has as `name`."""
    model = {"source": "triton", "name": name, "transform": TRANSFORM, "batch_size": 8} | settings
    return parse_config({"triton": {"url": url, "retry_delay_s": 0.05} | (server or {}), "models": {"m": model}})
