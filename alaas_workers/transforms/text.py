"""The transform of text models. Preprocess judges the bytes and cuts them into tokens, which travel as small integers;
inference fills up rows to one of a few lengths, which depend on each text alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alaas.config import TextConfig
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError, SampleCode, SampleError
from alaas_workers.transforms.tokens import Encoded, Tokens, open_tokens

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Of the ids and of the lengths that rows are filled up to: count up whenever either would change."""

LEAST_STEP = 8
Ids = npt.NDArray[np.integer[Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextTransform:
    """UTF-8 to token ids. Two of equal `id` give equal inputs. Raises ModelError for a bad tokenizer."""

    settings: TextConfig

    def __post_init__(self) -> None:
        if self.settings.tokenizer is None:
            raise ModelError("a text model needs a tokenizer; name a tokenizer.json, its folder, or 'bytes'")
        _ = self.id  # what is wrong with the tokenizer's files shows here, and not at the first text

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over the tokenizer's file, every parameter and VERSION."""
        parts = ["text", VERSION, self.tokens.digest, self.max_length, self.pad_id, self.settings.padding]
        return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()

    @cached_property
    def tokens(self) -> Tokens:
        return open_tokens(self.settings.tokenizer or "")

    @cached_property
    def max_length(self) -> int:
        return self.settings.max_length or self.tokens.usual_length

    @cached_property
    def pad_id(self) -> int:
        return self.tokens.pad_id if self.settings.pad_id is None else self.settings.pad_id

    @property
    def input_size(self) -> tuple[int]:
        """The most tokens of a row."""
        return (self.max_length,)

    def preprocess(self, data: bytes, limits: SourcesConfig) -> Ids:
        """Token ids as (1, L) uint16 or int32; (2, L) where a token is of another segment than 0.

        White space around the text is taken off. Raises SampleError: TOO_LARGE, NOT_TEXT, or EMPTY for nothing left.
        """
        encode, text = self._encode, read_text(data, limits.max_text_bytes)
        try:
            encoded = encode(text)
        except MemoryError:
            raise
        except Exception:  # the tokenizers library has no errors of its own; one without [UNK] fails on unknown words
            raise SampleError(SampleCode.NOT_TEXT, "the tokenizer makes no tokens of the text") from None
        return self._array(encoded)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(1 or 2, filled up length, whether nothing was filled up) of an array of `preprocess`."""
        rows, length = shape
        filled = self._filled_length(length)
        return rows, filled, int(filled == length)

    def to_input(
        self, arrays: Sequence[Ids], device: torch.device | str = "cpu", *, channels_last: bool = False
    ) -> dict[str, torch.Tensor]:
        """N arrays of one `input_shape` to int64 (N, length) by name: input_ids, attention_mask (1 where a token is),
        and token_type_ids where the arrays hold them.
        """
        import torch

        length = self._filled_length(arrays[0].shape[1])
        rows = np.full((arrays[0].shape[0], len(arrays), length), self.pad_id, np.int64)
        rows[1:] = 0
        mask = np.zeros((len(arrays), length), np.int64)
        for number, array in enumerate(arrays):
            rows[:, number, : array.shape[1]] = array
            mask[number, : array.shape[1]] = 1
        named = {"input_ids": rows[0], "attention_mask": mask}
        if len(rows) > 1:
            named["token_type_ids"] = rows[1]
        return {name: torch.from_numpy(values).to(device) for name, values in named.items()}

    def example(self) -> Ids:
        """One letter, which every tokenizer knows or takes for unknown."""
        encoded = self._encode("a")
        return self._array(encoded if encoded.ids else Encoded([self.pad_id], None, False))

    def _array(self, encoded: Encoded) -> Ids:
        if not encoded.ids:
            raise SampleError(SampleCode.EMPTY, "the tokenizer leaves nothing of the text")
        rows = [encoded.ids] if encoded.types is None else [encoded.ids, encoded.types]
        return np.array(rows, np.uint16 if self.tokens.size <= 2**16 else np.int32)

    def _filled_length(self, length: int) -> int:
        if not self.settings.padding or length >= self.max_length:
            return length
        # Always one more at least: rows with padding go through an attention mask, and where no row of a batch has
        # any, models leave the mask out and round otherwise. So a row's neighbours are all like itself.
        step = max(LEAST_STEP, 1 << max(0, length.bit_length() - 3))
        return min(self.max_length, (length // step + 1) * step)

    @cached_property
    def _encode(self) -> Callable[[str], Encoded]:
        encode = self.tokens.encoder(self.max_length)
        was_told = False

        def told(text: str) -> Encoded:
            nonlocal was_told
            encoded = encode(text)
            if encoded.cut and not was_told:
                was_told = True
                logger.warning("texts of more than %d tokens are cut (max_length)", self.max_length)
            return encoded

        return told


def read_text(data: bytes, max_bytes: int) -> str:
    """The text without white space around it. Raises SampleError: TOO_LARGE, NOT_TEXT or EMPTY."""
    if len(data) > max_bytes:
        raise SampleError(SampleCode.TOO_LARGE, f"a text of more than {max_bytes} bytes")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SampleError(SampleCode.NOT_TEXT, "the bytes are not UTF-8") from None
    if not text:
        raise SampleError(SampleCode.EMPTY, "there is no text, or only white space")
    if "\0" in text:
        raise SampleError(SampleCode.NOT_TEXT, "a text holds no NUL")
    return text
