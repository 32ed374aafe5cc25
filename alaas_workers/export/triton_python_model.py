"""Written by `alaas export triton`: serves the program beside this file in Triton's Python backend. Needs torch, and
onnxruntime where the program is an ONNX file, `alaas[server]` where it is model.json.

Its settings are the parameters of config.pbtxt. A row depends on its sample alone: whatever requests Triton puts
together, their rows go in batches that are filled up to a multiple of `alaas_row_multiple`.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # Triton's, and only there

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
PROBABILITIES, BOX_SCORES, EMBEDDINGS = "probabilities", "box_scores", "embeddings"


class TritonPythonModel:
    """One copy of the model; Triton makes each in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._inputs = [each["name"] for each in config["input"]]
        self._outputs = [each["name"] for each in config["output"]]
        self._takes_any_size = any("-1" in map(str, each["dims"]) for each in config["input"])
        self._device = torch.device(_device(args))
        if self._device.type == "cuda":  # TF32 is not fp32, and kernels that race do not repeat
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
        else:
            copies = sum(group["count"] for group in config.get("instance_group", ())) or 1
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // copies))
        folder = os.path.join(args["model_repository"], args["model_version"])
        self._program = _load(os.path.join(folder, self._parameters["alaas_program"]), self._device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer a request. Requests of one shape, which is how Triton batches them, are computed together."""
        groups: dict[Any, list[tuple[int, list[Any]]]] = {}
        for number, request in enumerate(requests):
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs]
            groups.setdefault(tuple(array.shape[1:] for array in arrays), []).append((number, arrays))
        answers: list[Any] = [None] * len(requests)
        for members in groups.values():
            made = self._answers([arrays for _, arrays in members])
            for (number, _), answer in zip(members, made, strict=True):
                answers[number] = answer
        return answers

    def _answers(self, members: list[list[Any]]) -> list[Any]:
        try:
            columns = [torch.cat([torch.from_numpy(array) for array in each]) for each in zip(*members, strict=True)]
            results = self._computed(columns)
        except Exception as error:  # the server goes on, and the client learns which model failed how
            failed = self._failed(error)
            return [pb_utils.InferenceResponse(output_tensors=[], error=failed) for _ in members]
        sizes = [len(arrays[0]) for arrays in members]
        parts = zip(*(torch.split(values, sizes) for values in results), strict=True)
        return [pb_utils.InferenceResponse(self._tensors(part)) for part in parts]

    def _failed(self, error: Exception) -> Any:
        """Of a size that differs from sample to sample, an error may be of this one: to ask again would not help."""
        of_the_size = self._takes_any_size and isinstance(error, RuntimeError | AssertionError)  # a captured guard's
        of_the_size = of_the_size and not isinstance(error, torch.OutOfMemoryError)
        code = pb_utils.TritonError.INVALID_ARG if of_the_size else pb_utils.TritonError.INTERNAL
        return pb_utils.TritonError(f"the model failed with {type(error).__name__}: {error}", code)

    def _tensors(self, values: tuple[torch.Tensor, ...]) -> list[Any]:
        return [pb_utils.Tensor(name, each.numpy()) for name, each in zip(self._outputs, values, strict=True)]

    def _computed(self, columns: list[torch.Tensor]) -> list[torch.Tensor]:
        """Float32 on the host: a tensor for each output, of as many rows as the columns."""
        rows, multiple = len(columns[0]), int(self._parameters["alaas_row_multiple"])
        size = int(self._parameters["alaas_batch_size"])
        parts = []
        for start in range(0, rows, size):
            batch = [_filled(column[start : start + size], multiple).to(self._device) for column in columns]
            count = min(size, rows - start)
            parts.append([values[:count].float().cpu() for values in self._forward(batch)])
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _forward(self, batch: list[torch.Tensor]) -> list[torch.Tensor]:
        if self._parameters["alaas_channels_last"] == "true":
            batch = [each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each for each in batch]
        precision = PRECISIONS.get(self._parameters["alaas_precision"])
        with torch.inference_mode(), torch.autocast(self._device.type, precision, enabled=precision is not None):
            made = self._called(batch)
        scores, embedding = made if isinstance(made, tuple | list) else (made, None)
        of = self._parameters["alaas_scores_of"]
        name = BOX_SCORES if of == "boxes" else PROBABILITIES
        found = {} if scores is None else {name: self._probabilities(scores.float(), of)}
        if embedding is not None:
            found[EMBEDDINGS] = embedding.flatten(1)
        return [found[name] for name in self._outputs]

    def _probabilities(self, scores: torch.Tensor, of: str) -> torch.Tensor:
        if self._parameters["alaas_logits"] != "true" or of == "boxes":
            return scores
        return torch.softmax(scores, 1) if of == "classes" else _sigmoid(scores)

    def _called(self, batch: list[torch.Tensor]) -> Any:
        if self._inputs == ["input"]:
            return self._program(batch[0])
        given = dict(zip(self._inputs, batch, strict=True))
        return self._program(**given) if self._parameters["alaas_keywords"] == "true" else self._program(given)


class OnnxProgram:
    """Gives (scores, embedding), as the other programs do; None for what it lacks."""

    def __init__(self, path: str, device: torch.device) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(device.index or 0), "use_tf32": "0"}))
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)

    def __call__(self, given: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        named = given if isinstance(given, dict) else {"input": given}
        feed = {name: tensor.contiguous().cpu().numpy() for name, tensor in named.items()}
        names = [output.name for output in self._session.get_outputs()]
        made = dict(zip(names, map(torch.from_numpy, self._session.run(names, feed)), strict=True))
        return made.get(PROBABILITIES), made.get(EMBEDDINGS)


def _device(args: dict[str, str]) -> str:
    return f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"


def _load(path: str, device: torch.device) -> Any:
    if path.endswith(".onnx"):
        return OnnxProgram(path, device)
    if path.endswith(".json"):
        return _load_carried(path, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and torch.export talks of its own internals
        if path.endswith(".pt"):
            return torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
        program = torch.export.load(path)
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        return program.module()


def _load_carried(path: str, device: torch.device) -> Any:
    try:
        from alaas_workers.export.carried import load_carried
    except ImportError as error:
        raise RuntimeError(f"this model runs its own code: Triton's Python needs alaas[server] ({error})") from error
    return load_carried(Path(path), device).eager


def _sigmoid(logits: torch.Tensor) -> torch.Tensor:
    """As the softmax of [z, 0]: torch's own sigmoid rounds a value by its place in the tensor, in vectors or alone."""
    return torch.softmax(torch.stack([logits, torch.zeros_like(logits)], 2), 2)[..., 0]


def _filled(rows: torch.Tensor, multiple: int) -> torch.Tensor:
    """The last row again, up to a multiple of `multiple` rows: fewer would round by other kernels."""
    missing = -len(rows) % multiple
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows
