"""Two older formats, each read as our own: the paper's Figure 3 and the published package's YAML (docs/paper.md)."""

from __future__ import annotations

import re
from typing import Any

from alaas.errors import ConfigError

_LOOPBACK = "127.0.0.1"
_HUGGINGFACE = ("huggingface", "huggingface/transformers", "transformers")
_TEXT_TASKS = (None, "text-classification", "sentiment-analysis", "feature-extraction")


def as_full_format(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return `raw` in our full format, and the warnings that the reading gives rise to.

    A file without `active_learning` is already in the full format.
    """
    if "active_learning" not in raw:
        return raw, []
    full = {key: value for key, value in raw.items() if key != "active_learning"}
    section = _mapping(raw["active_learning"], "active_learning")
    _refuse_unknown(section, {"strategy", "al_server", "al_worker"}, "active_learning")
    warnings: list[str] = []
    strategy = dict(_mapping(section.get("strategy", {}), "active_learning.strategy"))
    paper, published = strategy.pop("infer_model", None), strategy.pop("model", None)
    if paper is not None and published is not None:
        raise ConfigError("give infer_model or model, not both", field="active_learning.strategy")
    if paper is not None:
        full["models"] = _paper_model(_mapping(paper, "active_learning.strategy.infer_model"), warnings)
    if published is not None:
        full["models"] = _published_model(_mapping(published, "active_learning.strategy.model"))
    if strategy:
        full["strategy"] = strategy
    if "al_server" in section:
        full["triton"] = section["al_server"]
        for model in full.get("models", {}).values():
            model["engine"] = "auto"
    if "al_worker" in section:
        _published_worker(_mapping(section["al_worker"], "active_learning.al_worker"), full, warnings)
    return full, warnings


def _paper_model(model: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    where = "active_learning.strategy.infer_model"
    known = {"type", "hub_name", "model", "batch_size", "instance_group", "device", "transform", "weights", "head"}
    _refuse_unknown(model, known, where)
    source = model.get("type", "torch_hub")
    if source not in ("torch_hub", "torchvision"):
        raise ConfigError(f"{source!r} is not a model repository; nearest known: 'torch_hub'", field=f"{where}.type")
    read = {key: model[key] for key in known & model.keys() if key not in ("type", "hub_name", "model")}
    read |= {"source": source, "name": _required(model, "model", where)}
    if source == "torch_hub":
        read["repo"] = _required(model, "hub_name", where)
    return {read["name"]: read}


def _published_model(model: dict[str, Any]) -> dict[str, Any]:
    where = "active_learning.strategy.model"
    _refuse_unknown(model, {"name", "hub", "batch_size", "device", "tokenizer", "task"}, where)
    name = _required(model, "name", where)
    if model.get("tokenizer") is None and model.get("task") is None:
        read: dict[str, Any] = {"source": "torch_hub", "name": name, "repo": _required(model, "hub", where)}
    else:
        read = _published_text_model(model, name, where)
    return {name: read | {key: model[key] for key in ("batch_size", "device") if key in model}}


def _published_text_model(model: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """`name` is what the HuggingFace hub, or a folder, calls it; `hub: huggingface:COMMIT` pins it."""
    task = model.get("task")
    if task not in _TEXT_TASKS:
        known = ", ".join(str(one) for one in _TEXT_TASKS if one)
        raise ConfigError(f"the task {task!r:.80} is not served; known: {known}", field=f"{where}.task")
    hub, _, revision = str(model.get("hub") or "huggingface").partition(":")
    read: dict[str, Any] = {"source": "huggingface", "modality": "text"}
    read["repo"] = name if hub in _HUGGINGFACE else hub
    if revision:
        read["revision"] = revision
    if model.get("tokenizer") not in (None, name, read["repo"]):
        read["text"] = {"tokenizer": model["tokenizer"]}
    return read


def _published_worker(worker: dict[str, Any], full: dict[str, Any], warnings: list[str]) -> None:
    where = "active_learning.al_worker"
    _refuse_unknown(worker, {"protocol", "host", "port", "replicas"}, where)
    protocol = worker.get("protocol", "http")
    if protocol != "http":
        raise ConfigError(f"the protocol {protocol!r} is not served; 'http' is", field=f"{where}.protocol")
    api = dict(_mapping(full.get("api", {}), "api"))
    if "port" in worker:
        api.setdefault("port", worker["port"])
    host = worker.get("host", _LOOPBACK)
    if host not in (_LOOPBACK, "localhost", "::1") and not api.get("tokens"):
        warnings.append(
            f"{where}.host {host} is public and there are no api.tokens: listening on {_LOOPBACK} only"
            " (`alaas token OWNER` makes a token)"
        )
        host = _LOOPBACK
    api.setdefault("host", host)
    full["api"] = api
    replicas = worker.get("replicas", 1)
    if replicas != 1:
        workers = dict(_mapping(full.get("workers", {}), "workers"))
        inference = dict(_mapping(workers.get("inference", {}), "workers.inference"))
        inference.setdefault("processes", replicas)
        full["workers"] = workers | {"inference": inference}


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"expected a mapping, got {value!r:.80}", field=where)
    return value


def _required(model: dict[str, Any], key: str, where: str) -> str:
    value = model.get(key)
    if value in (None, ""):
        raise ConfigError("is required", field=f"{where}.{key}")
    if not isinstance(value, str):
        raise ConfigError(f"expected a name, got {value!r:.80}", field=f"{where}.{key}")
    return value


def _refuse_unknown(mapping: dict[str, Any], known: set[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ConfigError(unknown_key(str(key), known), field=f"{where}.{key}")


def unknown_key(key: str, known: set[str]) -> str:
    """The sentence for a key that nothing reads, with the nearest known one."""
    from difflib import get_close_matches

    near = get_close_matches(re.sub(r"[\s-]", "_", key.lower()), sorted(known), n=1, cutoff=0.0)
    return f"unknown key {key!r:.80}" + (f"; nearest known: {near[0]!r}" if near else "")
