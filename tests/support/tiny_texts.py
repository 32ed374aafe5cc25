"""Small text models as HuggingFace folders: a word-level tokenizer and a BERT of one layer, made in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from alaas.config import Config
from tests.support.tiny_models import config_of

CLASSES = 4
WORDS = [f"word{number}" for number in range(40)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_labels": CLASSES,
}


def write_tokenizer(folder: Path, words: Iterable[str] = WORDS, *, most: int = 64) -> Tokenizer:
    """WordPiece of whole words and letters with BERT's special tokens, and the settings file beside it."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_special_tokens(SPECIAL)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": most, "pad_token": "[PAD]", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def bert(kind: str, tokens: int, **sizes: Any) -> Any:
    """`kind`: "BertForSequenceClassification" and the like, with weights from a fixed seed."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, kind)(transformers.BertConfig(vocab_size=tokens, **SIZES | sizes))


def write_text_model(folder: Path, kind: str = "BertForSequenceClassification", **sizes: Any) -> Path:
    """The folder, as `save_pretrained` of model and tokenizer leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in _files(kind, tuple(sorted(sizes.items()))).items():
        (folder / name).write_bytes(data)
    return folder


@cache
def _files(kind: str, sizes: tuple[tuple[str, Any], ...]) -> dict[str, bytes]:
    with TemporaryDirectory() as made:
        tokenizer = write_tokenizer(Path(made))
        bert(kind, tokenizer.get_vocab_size(), **dict(sizes)).save_pretrained(made)
        return {file.name: file.read_bytes() for file in Path(made).iterdir()}


def text_config(folder: Path, kind: str = "BertForSequenceClassification", **settings: Any) -> Config:
    """The model `m` in a folder of its own beneath `folder`."""
    repo = folder / kind
    if not repo.exists():
        write_text_model(repo, kind)
    defaults: dict[str, Any] = {"source": "huggingface", "modality": "text", "repo": repo, "passes": 3}
    return config_of(**defaults | settings)


def text(seed: int) -> bytes:
    """3 to 70 words, of which some are known."""
    return " ".join(f"word{(seed * 7 + place * (seed + 3)) % 50}" for place in range(3 + seed * 11 % 68)).encode()
