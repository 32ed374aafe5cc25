from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.config import TextConfig
from alaas.config.fields import MIB
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError, SampleCode, SampleError
from alaas_workers.transforms import TRANSFORMS
from alaas_workers.transforms.text import TextTransform
from tests.support.images import jpeg
from tests.support.tiny_texts import text, write_tokenizer

LIMITS = SourcesConfig()
BYTES = TextTransform(TextConfig(tokenizer="bytes", max_length=32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    return tmp_path


def _transform(folder: Path, **settings: Any) -> TextTransform:
    return TextTransform(TextConfig(tokenizer=str(folder), **settings))


def _ids(transform: TextTransform, data: bytes) -> list[int]:
    ids: list[int] = transform.preprocess(data, LIMITS)[0].tolist()
    return ids


def test_tokens_are_those_that_transformers_makes(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ours = _transform(folder)
    texts = [*(text(seed).decode() for seed in range(20)), "Ünï-cödé, 中文 and a\ttab", "[CLS] [PAD] 😀"]
    for each in texts:
        assert _ids(ours, each.encode()) == theirs(each, truncation=True, max_length=64)["input_ids"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", SampleCode.EMPTY),
        (b" \n\t\r\n \xc2\xa0 ", SampleCode.EMPTY),
        (b"\xef\xbb\xbf", SampleCode.EMPTY),
        (b"caf\xe9", SampleCode.NOT_TEXT),
        (b"half a letter \xe4\xb8", SampleCode.NOT_TEXT),
        (b"\xed\xa0\x80 a lone surrogate", SampleCode.NOT_TEXT),
        ("a text".encode("utf-16"), SampleCode.NOT_TEXT),
        ("a text".encode("utf-16-le"), SampleCode.NOT_TEXT),
        (jpeg(8, 8), SampleCode.NOT_TEXT),
        (b"word " * (10 * MIB // 5), SampleCode.TOO_LARGE),
    ],
    ids=["nothing", "space", "a mark", "latin", "half", "surrogate", "utf-16", "utf-16 unmarked", "jpeg", "10 MB"],
)
def test_what_is_no_text_fails_with_its_code(folder: Path, data: bytes, code: SampleCode) -> None:
    transform, started = _transform(folder), time.monotonic()
    with pytest.raises(SampleError) as caught:
        transform.preprocess(data, LIMITS)
    assert caught.value.sample_code is code
    assert time.monotonic() - started < 1


def test_a_text_of_which_the_tokenizer_leaves_nothing_is_empty(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    with pytest.raises(SampleError) as caught:
        _transform(folder).preprocess(b"\x01\x02", LIMITS)  # which BERT's normaliser takes out
    assert caught.value.sample_code is SampleCode.EMPTY


def test_a_text_over_which_the_tokenizer_stumbles_fails_alone(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "[NONE]"  # which its words lack
    (folder / "tokenizer.json").write_text(json.dumps(content))
    transform = _transform(folder)
    assert len(_ids(transform, b"word1")) == 3
    with pytest.raises(SampleError) as caught:
        transform.preprocess("\u4e00".encode(), LIMITS)
    assert caught.value.sample_code is SampleCode.NOT_TEXT and "[NONE]" not in caught.value.detail


@given(st.binary(max_size=200))
def test_any_bytes_become_tokens_or_a_code(data: bytes) -> None:
    try:
        array = BYTES.preprocess(data, LIMITS)
    except SampleError:
        return
    assert array.dtype == np.uint16 and 1 <= array.shape[1] <= 32 and (array > 0).all()


def test_white_space_around_a_text_and_a_byte_order_mark_change_nothing(folder: Path) -> None:
    transform = _transform(folder)
    plain = _ids(transform, b"word1 word2")
    assert _ids(transform, b"\xef\xbb\xbf\n  word1 word2\r\n") == plain


def test_a_longer_text_is_cut_with_its_special_tokens_kept_and_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transform = _transform(folder, max_length=8)
    with caplog.at_level(logging.WARNING):
        cut = [_ids(transform, b"word1 " * count) for count in (6, 7, 500)]
    assert cut[0] == cut[1] == cut[2] and len(cut[0]) == 8
    assert (cut[0][0], cut[0][-1]) == (2, 3)
    assert [record.getMessage() for record in caplog.records] == ["texts of more than 8 tokens are cut (max_length)"]


def test_the_longest_text_is_the_tokenizers_own_unless_told(folder: Path) -> None:
    assert _transform(folder).input_size == (64,)
    assert _transform(folder, max_length=48).input_size == (48,)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert TextTransform(TextConfig(tokenizer=str(folder / "tokenizer.json"))).input_size == (512,)


@given(st.integers(1, 512), st.sampled_from([64, 500, 512]))
def test_a_row_is_filled_up_by_its_own_length_and_a_little(length: int, most: int) -> None:
    transform = TextTransform(TextConfig(tokenizer="bytes", max_length=most))
    length = min(length, most)
    rows, filled, is_full = transform.input_shape((1, length))
    assert (rows, is_full) == (1, length == most)
    assert length <= filled <= min(most, length + max(8, length / 4))
    # So that a batch has padding in all of its rows or in none.
    assert (filled == length) == (length == most)


def test_the_input_holds_each_row_its_mask_and_padding_of_the_right_token() -> None:
    transform = TextTransform(TextConfig(tokenizer="bytes", max_length=32, pad_id=7))
    arrays = [transform.preprocess(data, LIMITS) for data in (b"abc", b"a", b"abcdefg")]
    batch = transform.to_input(arrays)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert batch["input_ids"].tolist()[1] == [ord("a") + 1] + [7] * 7
    assert batch["attention_mask"].sum(1).tolist() == [3, 1, 7]
    assert TextTransform(TextConfig(tokenizer="bytes", padding=False)).input_shape((1, 3)) == (1, 3, 1)


def test_segments_travel_where_a_tokenizer_gives_others_than_the_first(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"]["single"][-1]["SpecialToken"]["type_id"] = 2
    (folder / "tokenizer.json").write_text(json.dumps(content))
    transform = _transform(folder)
    array = transform.preprocess(b"word1", LIMITS)
    assert array.tolist()[1] == [0, 0, 2]
    assert transform.to_input([array])["token_type_ids"].tolist() == [[0, 0, 2, 0, 0, 0, 0, 0]]


def test_the_identity_is_of_the_tokenizers_content_and_every_setting_but_no_path(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    write_tokenizer(other)
    same = {_transform(folder).id, _transform(other).id, _transform(folder, max_length=64).id}
    assert len(same) == 1
    write_tokenizer(tmp_path / "more", ["other"])
    changed = [
        _transform(folder, max_length=63),
        _transform(folder, pad_id=5),
        _transform(folder, padding=False),
        _transform(tmp_path / "more"),
        BYTES,
    ]
    assert len({each.id for each in changed} | same) == 6


def test_a_tokenizer_that_was_replaced_is_read_again(folder: Path) -> None:
    before = _transform(folder).id
    time.sleep(0.01)
    write_tokenizer(folder, ["other"])
    assert _transform(folder).id != before


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "there is no tokenizer.json"), (b"", "corrupt"), (b"{}", "corrupt"), (b"\xff" * 100, "corrupt")],
)
def test_a_tokenizer_that_is_missing_or_corrupt_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=why) as caught:
        _transform(tmp_path)
    assert str(tmp_path) not in caught.value.detail


def test_no_tokenizer_at_all_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a tokenizer"):
        TextTransform(TextConfig())


def test_text_is_a_modality() -> None:
    assert TRANSFORMS["text"].endswith("TextTransform")
