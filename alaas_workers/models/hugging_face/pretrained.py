"""A module of transformers from a folder: known architectures only, safetensors only, and every weight in its place."""

from __future__ import annotations

import json
import logging
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from alaas.jobs import ScoresOf
from alaas_workers.models.built import BuildContext, architecture_of, same_everywhere
from alaas_workers.models.hugging_face.hub import read_json

logger = logging.getLogger(__name__)

_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "auto_map")
"""What a config.json says that changes nothing of what is computed: weights are always loaded as float32."""


_OF_A_LAYER = re.compile(r"\.\d+\.")
_OWN_ATTENTION = (None, "eager", "sdpa")
"""Transformers' own. Any other name may have code fetched from a hub, where the `kernels` package is installed."""


def config_of(context: BuildContext, folder: Path) -> dict[str, Any]:
    """config.json. Raises ModelError for one that needs code of its own, and for an unknown architecture."""
    config = read_json(context.name, folder / "config.json")
    _check_runs_as_it_is(context, folder, config)
    known = _mapping(context)
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in known:
        return config
    if "auto_map" in config:
        raise context.error("repo", "it brings its own code, which is never run; take a model that transformers knows")
    raise context.error("repo", f"its config.json names no model_type that transformers knows ({kind!r:.80})")


def _check_runs_as_it_is(context: BuildContext, folder: Path, config: dict[str, Any]) -> None:
    """Raises ModelError for what transformers would take from elsewhere, or would leave out without a word."""
    if (folder / "adapter_config.json").is_file():  # with peft installed it names another model, without it is ignored
        raise context.error("repo", "it holds an adapter; merge it into its model (merge_and_unload) and save that")
    for part in (config, *(each for each in config.values() if isinstance(each, dict))):
        for key, value in part.items():
            if key.endswith(("attn_implementation", "experts_implementation")) and value not in _OWN_ATTENTION:
                raise context.error("repo", f"its config.json chooses {key:.80}, which may be code; leave it out there")


def classifier_scores(context: BuildContext, config: dict[str, Any], *kinds: str) -> ScoresOf:
    """What the scores of its head are of. `kinds`: how the names of architectures that fit end.

    Raises ModelError for a head whose outputs fit no strategy: a regression, or no classifier at all.
    """
    if not any(each.endswith(kinds) for each in architectures(config)):
        raise context.error("repo", f"it is no classifier ({named_architecture(config)}); its outputs fit no strategy")
    if config.get("problem_type") == "multi_label_classification":
        return "labels"
    if class_count(config) < 2 or config.get("problem_type") == "regression":
        raise context.error("repo", "its head gives numbers of a regression, which fit no strategy; take a classifier")
    return "classes"


def architectures(config: dict[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [str(each) for each in named] if isinstance(named, list) else []


def named_architecture(config: dict[str, Any]) -> str:
    return ", ".join(architectures(config))[:120] or "it names no architecture"


def class_count(config: dict[str, Any]) -> int:
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    count = config.get("num_labels", 2)
    return count if isinstance(count, int) else 2


def load_pretrained(
    context: BuildContext, folder: Path, auto: str, *, may_miss: tuple[str, ...] = (), **options: Any
) -> nn.Module:
    """`transformers.<auto>` from `folder` in float32, on the CPU, in eval. Raises ModelError when weights do not fit.

    `may_miss`: beginnings of parameter names that may be absent, since nothing is computed with them.
    """
    transformers = _transformers(context)
    try:
        with same_everywhere():
            module, report = getattr(transformers, auto).from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype="float32",
                **options,
            )
    except Exception as error:  # of a damaged file, of sizes that differ, of a package that some models need
        logger.warning("model %r: transformers could not load it", context.name, exc_info=True)
        raise context.error(
            "repo", f"its weights cannot be loaded ({type(error).__name__}): damaged, or not of its config.json"
        ) from None
    _check_fit(context, report, may_miss)
    module.eval()
    return module  # type: ignore[no-any-return]


def architecture(kind: str, config: dict[str, Any], *more: str) -> str:
    """For the fingerprint: all of config.json that the computation depends on. `more`: what else it depends on."""
    lasting = {key: value for key, value in config.items() if key not in _VOLATILE}
    digest = sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return architecture_of("huggingface", kind, {}, digest, *more)


def _check_fit(context: BuildContext, report: dict[str, Any], may_miss: tuple[str, ...]) -> None:
    missing = sorted(each for each in report["missing_keys"] if not each.startswith(may_miss or ("\0",)))
    strange = sorted(map(str, report["mismatched_keys"]))
    # Heads that are left over change nothing, and many folders hold some; a layer more than config.json says does.
    layers = sorted(each for each in report["unexpected_keys"] if _OF_A_LAYER.search(each))
    for what, names in (("miss", missing), ("have another shape at", strange), ("have unknown", layers)):
        if names:
            raise context.error("repo", f"the weights do not fit config.json: they {what} {names[0]!r:.120}")


def _mapping(context: BuildContext) -> Any:
    return _transformers(context).CONFIG_MAPPING


def _transformers(context: BuildContext) -> Any:
    try:
        import transformers
    except ImportError:
        raise context.error(
            "source", f"a HuggingFace model needs transformers: pip install 'alaas[{context.settings.modality}]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what does not fit, is told below
    return transformers
