"""From a folder to a module that gives (logits, embedding) of token ids: the text models as torch runs them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from alaas_workers.models.built import BuildContext, Built
from alaas_workers.models.hugging_face.hub import folder_of
from alaas_workers.models.hugging_face.pooling import Pooling, pooling_of
from alaas_workers.models.hugging_face.pretrained import (
    architecture,
    architectures,
    classifier_scores,
    config_of,
    load_pretrained,
    named_architecture,
)
from alaas_workers.models.registry import transform_for
from alaas_workers.transforms.text import LEAST_STEP, TextTransform

logger = logging.getLogger(__name__)

_CLASSIFIER = "ForSequenceClassification"
_EMBEDS = ("Model", "ForMaskedLM", "ForPreTraining")
"""Of the last two the body alone is taken, without the head that guesses words."""

_GENERATES = ("LMHeadModel", "HeadsModel", "EncoderDecoderModel")

_UNUSED = ("pooler.",)
"""Of a body; the embedding is made of the last hidden state itself."""


class WithPooledState(nn.Module):
    """Calls `model` and returns (logits, what `pooling` makes of the last hidden state of its `base_model`)."""

    def __init__(self, model: Any, pooling: Pooling, *, classifies: bool) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self._classifies = classifies
        self._hidden: torch.Tensor | None = None
        if classifies:
            model.base_model.register_forward_hook(self._capture)

    def forward(self, **batch: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        output = self.model(**batch)
        if not self._classifies:
            return None, self.pooling(output[0], batch["attention_mask"])
        hidden, self._hidden = self._hidden, None
        if hidden is None:
            raise RuntimeError("the model's body took no part in the forward pass")
        return output.logits, self.pooling(hidden, batch["attention_mask"])

    def _capture(self, _body: nn.Module, _args: Any, output: Any) -> None:
        self._hidden = output[0]


def build_text(context: BuildContext) -> Built:
    """See `hugging_face.text.build`."""
    folder = folder_of(context.name, context.settings, weights=True)
    transform = cast(TextTransform, transform_for(context.name, context.settings))
    config = config_of(context, folder)
    if context.settings.compile:
        raise context.error("compile", "texts are of many lengths, and each would be compiled anew; leave it out")
    classifies = any(each.endswith(_CLASSIFIER) for each in architectures(config))
    module = _classifier(context, folder, config) if classifies else _embedder(context, folder, config)
    _fit_tokens(context, module.model, transform)
    _check_padding(context, module, transform)
    kind = _CLASSIFIER if classifies else "embeddings"
    described = architecture(kind, config, module.pooling.described)
    scores_of = classifier_scores(context, config, _CLASSIFIER) if classifies else "classes"
    return Built(module, described, scores_of=scores_of, gives_embedding=True)


def _classifier(context: BuildContext, folder: Path, config: dict[str, Any]) -> WithPooledState:
    classifier_scores(context, config, _CLASSIFIER)  # before its weights are read
    model = load_pretrained(context, folder, "AutoModelForSequenceClassification")
    if model.base_model is model:
        raise context.error("repo", "its body cannot be told from its head, so that it gives no embedding")
    return WithPooledState(model, Pooling(), classifies=True)


def _embedder(context: BuildContext, folder: Path, config: dict[str, Any]) -> WithPooledState:
    if not any(each.endswith(_EMBEDS) and not each.endswith(_GENERATES) for each in architectures(config)):
        raise context.error(
            "repo",
            f"it neither classifies texts nor embeds them ({named_architecture(config)}); its outputs fit no strategy",
        )
    pooling = pooling_of(context, folder)
    is_half = any(each.endswith("EncoderModel") for each in architectures(config))  # of an encoder and a decoder
    model = load_pretrained(context, folder, "AutoModelForTextEncoding" if is_half else "AutoModel", may_miss=_UNUSED)
    return WithPooledState(model, pooling, classifies=False)


def _fit_tokens(context: BuildContext, model: Any, transform: TextTransform) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if transform.tokens.size > rows:
        raise context.error(
            "text.tokenizer",
            f"it gives {transform.tokens.size} tokens and the model knows {rows}; take the model's own",
        )
    if transform.pad_id >= rows:
        raise context.error("text.pad_id", f"the model knows {rows} tokens")
    if model.config.pad_token_id is None:  # some find a text's last token by it
        model.config.pad_token_id = transform.pad_id
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # of what is generated next, which is never asked for


def _check_padding(context: BuildContext, module: nn.Module, transform: TextTransform) -> None:
    """Raises ModelError for a model that gives a text other rows when it is filled up."""
    if not transform.settings.padding:
        return
    ids = torch.from_numpy(transform.example()[:1].astype("int64"))
    more = min(LEAST_STEP, transform.max_length - ids.shape[1])
    padded = nn.functional.pad(ids, (0, more), value=transform.pad_id)
    mask = nn.functional.pad(torch.ones_like(ids), (0, more))
    try:
        with torch.inference_mode():
            plain = module(input_ids=ids, attention_mask=torch.ones_like(ids))
            filled = module(input_ids=padded, attention_mask=mask)
    except Exception as error:  # a model may take other arguments, or none of this length
        logger.warning("model %r: its first forward pass failed", context.name, exc_info=True)
        raise context.error("repo", f"a text of {ids.shape[1]} tokens fails with {type(error).__name__}") from None
    for one, other in zip(plain, filled, strict=True):
        if one is not None and not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise context.error("text.padding", "its outputs change when a text is filled up; set padding: false")
