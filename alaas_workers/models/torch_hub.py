"""Models of a TorchHub repository: a local folder, torch.hub's own copy, or a download pinned by commit.

A repository is code, so an unpinned reference is never fetched. `pytorch/vision`, which the paper's configuration
names, is served by the installed torchvision where no copy is there.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import ModelConfig, TransformConfig
from alaas.errors import AlaasError
from alaas_workers.models import torchvision_zoo
from alaas_workers.models.built import (
    IMAGENET,
    BuildContext,
    Built,
    architecture_of,
    as_path,
    same_everywhere,
    use_hub_folder,
)
from alaas_workers.models.scores import AS_IT_IS
from alaas_workers.models.state_dict import load_into, read_state_dict

logger = logging.getLogger(__name__)

DEFAULT_WEIGHTS = "IMAGENET1K_V1"
_VISION = "pytorch/vision"
_REFERENCE = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?::(?P<ref>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def default_settings(name: str, settings: ModelConfig) -> TransformConfig:
    """Of torchvision's weights for a model of pytorch/vision, else ImageNet's; a detector's image as it is."""
    if settings.scores_of == "boxes":
        return AS_IT_IS
    repository = (settings.repo or "").partition(":")[0]
    return torchvision_zoo.transform_of(settings.name or name) if repository == _VISION else IMAGENET


def build(context: BuildContext) -> Built:
    """Raises ModelError for a repository that is not there or not pinned, and for what its code cannot build."""
    repo = context.settings.repo
    if not repo:
        raise context.error("repo", "names no repository: a local folder, or owner/name:commit")
    folder = local_folder(repo, use_hub_folder(context.config))
    if folder is None and repo.partition(":")[0] == _VISION and not _is_pinned(repo):
        return _by_installed_torchvision(context)
    if folder is None:
        folder = _download(context)
    return _from_folder(folder, context)


def local_folder(repo: str, hub_folder: Path) -> Path | None:
    """The folder that `repo` names itself, else torch.hub's copy of it (owner_name_ref); None: there is neither."""
    named = as_path(repo)
    if (named / "hubconf.py").is_file():
        return named
    match = _REFERENCE.fullmatch(repo)
    if match is None:
        return None
    owner, name, ref = match["owner"], match["name"], match["ref"]
    for branch in [ref] if ref else ["main", "master"]:
        copy = hub_folder / "_".join([owner, name, branch.replace("/", "_")])
        if (copy / "hubconf.py").is_file():
            return copy
    return None


def _is_pinned(repo: str) -> bool:
    return _COMMIT.fullmatch(repo.partition(":")[2]) is not None


def _by_installed_torchvision(context: BuildContext) -> Built:
    import torchvision

    weights = context.settings.weights or DEFAULT_WEIGHTS
    logger.warning(
        "model %r: no local copy of %s; the installed torchvision %s serves %s with the weights %s instead",
        context.name, context.settings.repo, torchvision.__version__, context.entry, weights,
    )  # fmt: skip
    settings = context.settings.model_copy(update={"weights": weights})
    return torchvision_zoo.build(BuildContext(context.name, settings, context.config))


def _download(context: BuildContext) -> Path:
    repo = context.settings.repo or ""
    if _REFERENCE.fullmatch(repo) is None:
        raise context.error("repo", "there is no such folder with a hubconf.py; or give owner/name:commit")
    if not _is_pinned(repo):
        raise context.error(
            "repo",
            f"{repo!r:.120} runs code that can change: pin it by its commit (owner/name: and 40 hexadecimal digits),"
            " or give a local folder",
        )
    try:
        # The operator named the very commit, so neither a prompt nor a look-up of its branch adds anything.
        torch.hub.list(repo, skip_validation=True, trust_repo=True, verbose=False)  # type: ignore[no-untyped-call]
    except Exception:  # the network's errors, and whatever the repository's code raises
        logger.warning("model %r: the repository could not be fetched", context.name, exc_info=True)
        raise context.error("repo", "the repository could not be fetched or read; or give a local folder") from None
    folder = local_folder(repo, Path(torch.hub.get_dir()))
    if folder is None:
        raise context.error("repo", "the repository holds no hubconf.py")
    return folder


def _from_folder(folder: Path, context: BuildContext) -> Built:
    settings = context.settings
    from_file = settings.weights is not None and torchvision_zoo.names_a_file(settings.weights)
    state = read_state_dict(as_path(settings.weights or ""), context, "weights") if from_file else None
    module = _call_entry(folder, context, wants_weights=not from_file)
    if not isinstance(module, nn.Module):
        raise context.error("name", f"{context.entry!r} of the repository gives no torch module")
    if state is not None:
        load_into(module, state, context, "weights")
    return Built(module, architecture_of("torch_hub", context.entry, settings.kwargs, _digest_of_code(folder)))


def _call_entry(folder: Path, context: BuildContext, *, wants_weights: bool) -> Any:
    try:
        with _importable(folder), same_everywhere():
            hubconf = _import_hubconf(folder)
            entry = getattr(hubconf, context.entry, None)
            if not callable(entry):
                raise context.error("name", f"the repository has no entry {context.entry!r:.80}")
            return entry(**_arguments(entry, context.settings, wants_weights))
    except AlaasError:
        raise
    except Exception as error:  # the repository's code may raise anything; its message may hold paths
        logger.warning("model %r: the repository's code failed", context.name, exc_info=True)
        raise context.error(
            "repo", f"the repository's code failed with {type(error).__name__}; the worker's log has it"
        ) from None


def _arguments(entry: Any, settings: ModelConfig, wants_weights: bool) -> dict[str, Any]:
    """The configured ones; and trained weights where the entry takes a wish for them, since hubs default to none."""
    parameters = inspect.signature(entry).parameters
    arguments = dict(settings.kwargs)
    if not wants_weights or {"weights", "pretrained"} & arguments.keys():
        return arguments
    if "weights" in parameters and (settings.weights or (settings.repo or "").startswith(_VISION)):
        arguments["weights"] = settings.weights or DEFAULT_WEIGHTS
    elif "pretrained" in parameters:
        arguments["pretrained"] = True
    return arguments


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_hubconf(folder: Path) -> Any:
    spec = spec_from_file_location("hubconf", folder / "hubconf.py")
    if spec is None or spec.loader is None:
        raise ImportError("hubconf.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _digest_of_code(folder: Path) -> str:
    """Over the repository's Python files by their names within it: the same on every host that holds that version."""
    digest = sha256()
    for path in sorted(folder.rglob("*.py")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # a virtual environment or version control inside the folder
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + sha256(path.read_bytes()).digest())
    return digest.hexdigest()
