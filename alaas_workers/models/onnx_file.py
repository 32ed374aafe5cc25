"""Models from ONNX files, which ONNX Runtime computes: to the rest of ALaaS a program, with inputs and outputs by name.

Only what the runtime itself brings is run: no library of custom operators is ever loaded.
"""

from __future__ import annotations

import json

import torch

from alaas.config import ModelConfig, TransformConfig
from alaas_workers.models.built import IMAGENET, BuildContext, Built, architecture_of, as_path
from alaas_workers.models.onnx_graph import digest_of
from alaas_workers.models.onnx_outputs import choose
from alaas_workers.models.onnx_session import Session, open_session
from alaas_workers.models.state_dict import check_file


def default_settings(_name: str, _settings: ModelConfig) -> TransformConfig:
    """An ONNX file says nothing of how images became its input."""
    return IMAGENET


def build(context: BuildContext) -> Built:
    """Raises ModelError for a file that is missing, corrupt or of an unknown operator, and for outputs that are not
    there.
    """
    settings = context.settings
    if settings.path is None:
        raise context.error("path", "names no file")
    path = as_path(settings.path)
    check_file(path, context, "path")
    _check_no_torch(context)
    digest = digest_of(path, context)
    copies = sum(group.count for group in settings.instance_group)  # which share the cores out, where they run there
    threads = max(1, torch.get_num_threads() // copies)
    outputs = choose(open_session(path, "cpu", threads, context), context)
    module = Session(path, outputs, threads, context)
    architecture = architecture_of("onnx", json.dumps([outputs.scores, outputs.embedding]), {}, digest)
    return Built(module, architecture, is_program=True, logits=outputs.are_logits)


def _check_no_torch(context: BuildContext) -> None:
    if context.settings.precision != "fp32":
        raise context.error("precision", "an ONNX file has its own precision; leave precision out")
    if context.settings.compile:
        raise context.error("compile", "torch.compile takes no ONNX file; leave compile out")
