"""A small classifier of AG News, trained in seconds and saved as a HuggingFace folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.tiny_texts import SPECIAL, bert

LENGTH, WIDTH = 64, 64


def write_news_model(folder: Path, texts: Sequence[str], classes: NDArray[np.int64]) -> Path:
    """A WordPiece tokenizer learnt from `texts`, and a BERT of one layer trained on them for four epochs."""
    tokenizer = _tokenizer(texts)
    model = bert(
        "BertForSequenceClassification",
        tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=LENGTH,
    )
    with one_thread():
        _train(model, tokenizer, texts, classes)
    model.save_pretrained(folder)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": LENGTH, "pad_token": "[PAD]", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Of matrices as small as these, several threads mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tokenizer(texts: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=4000, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def _train(model: torch.nn.Module, tokenizer: Tokenizer, texts: Sequence[str], classes: NDArray[np.int64]) -> None:
    tokenizer.enable_truncation(40)  # the rest of a text teaches little more, and takes long
    tokenizer.enable_padding()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, fused=True)
    rng = np.random.default_rng(0)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(4):
            for rows in np.array_split(rng.permutation(len(texts)), len(texts) // 32):
                encoded = tokenizer.encode_batch([texts[row] for row in rows])
                ids = torch.tensor([each.ids for each in encoded])
                mask = torch.tensor([each.attention_mask for each in encoded])
                optimizer.zero_grad()
                model(input_ids=ids, attention_mask=mask, labels=torch.tensor(classes[rows])).loss.backward()
                optimizer.step()
    model.eval()
