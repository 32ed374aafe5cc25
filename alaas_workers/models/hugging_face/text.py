"""Text models of HuggingFace: classifiers with their pooled last hidden state, and models that only embed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alaas.config import ModelConfig, TextConfig
from alaas_workers.models.hugging_face.hub import folder_of, read_json, refused
from alaas_workers.transforms.tokens import FILE_NAME, USUAL_LENGTH, open_tokens

if TYPE_CHECKING:
    from alaas_workers.models.built import BuildContext, Built

_COUNT_FROM_PADDING = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm"}
    | {"xlm-roberta", "xlm-roberta-xl", "xmod"}
)
"""Model types whose first token has the position after that of padding, so that a text may be shorter by as much."""


def default_settings(name: str, settings: ModelConfig) -> TextConfig:
    """`text` of the configuration, completed by what the folder says: its tokenizer, padding and longest text.

    Raises ModelError for a model without a tokenizer, and for a length that it does not take.
    """
    told = settings.text or TextConfig()
    folder = folder_of(name, settings)
    config = read_json(name, folder / "config.json")
    tokenizer = told.tokenizer or str(folder)
    if told.tokenizer is None and not (folder / FILE_NAME).is_file():
        raise refused(
            name,
            "repo",
            f"the folder holds no {FILE_NAME}; write it with AutoTokenizer...save_pretrained, or name one in text",
        )
    pad_id = told.pad_id if told.pad_id is not None else _pad_id(name, config, tokenizer)
    most = _positions(config, pad_id)
    if told.max_length is not None and most is not None and told.max_length > most:
        raise refused(name, "text.max_length", f"the model takes {most} tokens at most")
    usual = [open_tokens(tokenizer).usual_length, USUAL_LENGTH, *([most] if most else []), *_of_sentences(name, folder)]
    return told.model_copy(
        update={"tokenizer": tokenizer, "pad_id": pad_id, "max_length": told.max_length or min(usual)}
    )


def build(context: BuildContext) -> Built:
    """Raises ModelError for outputs that fit no strategy or change with padding, and for a foreign tokenizer."""
    from alaas_workers.models.hugging_face.text_modules import build_text

    return build_text(context)


def _pad_id(name: str, config: dict[str, Any], tokenizer: str) -> int:
    """The model's: it may find a text's end, or its positions, by it. Else the tokenizer's, else the token that ends a
    text, as is usual for models that were trained without padding: any other may be a text's last one.
    """
    tokens = open_tokens(tokenizer)
    for told in (config.get("pad_token_id"), tokens.told_pad_id, config.get("eos_token_id")):
        if isinstance(told, int) and told >= 0:
            return told
    return tokens.pad_id


def _positions(config: dict[str, Any], pad_id: int) -> int | None:
    """The most tokens that the model has positions for; None: not told."""
    for key in ("max_position_embeddings", "n_positions", "max_seq_len"):
        most = config.get(key)
        if isinstance(most, int) and most > 0:
            return most - (pad_id + 1 if config.get("model_type") in _COUNT_FROM_PADDING else 0)
    return None


def _of_sentences(name: str, folder: Path) -> list[int]:
    """What a folder of sentence-transformers says of the length."""
    told = read_json(name, folder / "sentence_bert_config.json").get("max_seq_length")
    return [told] if isinstance(told, int) and told >= 8 else []
