"""The folder that holds a HuggingFace model: local, in the hub's cache, or fetched. Nothing in it is ever run.

Where the cache lies, which hub is asked and with which token is huggingface_hub's own business (HF_HOME, HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE). No file of pickled weights and no code is fetched.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from alaas.config import ModelConfig
from alaas.errors import ModelError

logger = logging.getLogger(__name__)

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SMALL = ["*.json", "*.txt", "*.model"]  # configuration and tokenizer
_WEIGHTS = ["*.safetensors"]
_NEVER = ["onnx/*", "openvino/*", "*.bin", "*.py"]
_MAX_JSON_BYTES = 64 * 2**20
_ANSWER_TIMEOUT_S = 10.0


def refused(name: str, key: str, detail: str) -> ModelError:
    """`detail` reaches users of the API: it names files by their last part only."""
    return ModelError(f"model {name!r}: {detail}", field=f"models.{name}.{key}")


def folder_of(name: str, settings: ModelConfig, *, weights: bool = False) -> Path:
    """The folder with the model's `config.json`; `weights`: with its safetensors too.

    Raises ModelError for a repository that is not pinned, not here and not to be had, and for pickled weights.
    """
    repo = settings.repo
    if not repo:
        raise refused(name, "repo", "names no model: a local folder, or owner/name with its revision")
    local = Path(repo).expanduser()
    if local.is_dir():
        if settings.revision is not None:
            raise refused(name, "revision", "a local folder has no revision; leave it out")
        folder = local
    else:
        folder = _of_the_hub(name, settings, weights)
    if not (folder / "config.json").is_file():
        raise refused(name, "repo", "the folder holds no config.json; save a model there with save_pretrained")
    if weights:
        _check_weights(name, folder)
    return folder


def read_json(name: str, path: Path) -> dict[str, Any]:
    """A JSON object of the model's folder; {} where the file is not there. Raises ModelError for a corrupt one."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise refused(name, "repo", f"its {path.name} cannot be read as JSON") from None
    if not isinstance(content, dict):
        raise refused(name, "repo", f"its {path.name} holds no JSON object")
    return content


def _of_the_hub(name: str, settings: ModelConfig, weights: bool) -> Path:
    repo, revision = settings.repo or "", settings.revision or ""
    if _REPOSITORY.fullmatch(repo) is None:
        raise refused(
            name,
            "repo",
            f"there is no folder {Path(repo).name!r:.80}; name one that the workers can read, or owner/name",
        )
    if _COMMIT.fullmatch(revision) is None:
        raise refused(
            name,
            "revision",
            f"{repo!r:.120} can change: pin it by its commit (40 hexadecimal digits), or name a folder",
        )
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise refused(
            name, "repo", "a repository of the hub needs huggingface_hub (pip install 'alaas[text]'); or name a folder"
        ) from None
    patterns = [*_SMALL, *_WEIGHTS] if weights else _SMALL
    folder = _cached(repo, revision, patterns)
    if folder is not None and _is_whole(folder, weights):
        return folder
    return _fetched(name, repo, revision, patterns)


def _cached(repo: str, revision: str, patterns: list[str]) -> Path | None:
    """huggingface_hub's copy, without asking the network; None: none, or known to lack files."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=patterns, ignore_patterns=_NEVER, local_files_only=True
            )
        )
    except OSError:
        return None


def _is_whole(folder: Path, weights: bool) -> bool:
    """An older huggingface_hub gives a folder of which only some files were fetched."""
    if not (folder / "config.json").is_file():
        return False
    if not weights:
        return True
    shards = _shards(folder)
    return all((folder / shard).is_file() for shard in shards) if shards else any(folder.glob("*.safetensors"))


def _shards(folder: Path) -> set[str]:
    """The files that an index of weights names; empty where there is no readable index."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_bytes())
        return {str(file) for file in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _fetched(name: str, repo: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        # Asked once, since what follows would repeat its questions to a hub that is away for a minute and more.
        HfApi().model_info(repo, revision=revision, timeout=_ANSWER_TIMEOUT_S)
        # It waits HF_HUB_DOWNLOAD_TIMEOUT (10 s) for each piece of a file, a few times over, and goes on where it was.
        found = snapshot_download(repo, revision=revision, allow_patterns=patterns, ignore_patterns=_NEVER)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise _unreachable(name, repo, revision) from None
        raise refused(
            name, "repo", f"the hub shows no {repo!r:.120} at that revision (a private one needs HF_TOKEN)"
        ) from None
    except Exception:  # the network's errors, the disk's, and the hub's own
        raise _unreachable(name, repo, revision) from None
    return Path(found)


def _unreachable(name: str, repo: str, revision: str) -> ModelError:
    logger.warning("model %r: it cannot be fetched from the hub", name, exc_info=True)
    return refused(
        name,
        "repo",
        f"{repo!r:.120} is not in the cache and the hub cannot be reached; name a local folder, or fill the cache"
        f" (`hf download {repo:.120} --revision {revision}`; HF_HOME says to the workers where it is)",
    )


def _check_weights(name: str, folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.h5")):
        raise refused(
            name,
            "repo",
            "it holds pickled weights only, which could run code; load it once where you trust it and write it anew"
            " with save_pretrained, which makes model.safetensors",
        )
    raise refused(name, "repo", "it holds no weights (model.safetensors)")
