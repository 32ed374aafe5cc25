"""Text to token ids: by a `tokenizer.json`, or a token for each byte. Loads neither torch nor transformers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from alaas.errors import ModelError

logger = logging.getLogger(__name__)

BYTES = "bytes"
FILE_NAME = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
USUAL_LENGTH = 512
_MAX_FILE_BYTES = 256 * 2**20
_SET_TO_NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer knows no limit


class Encoded(NamedTuple):
    """`types`: the segment of each token where one is not 0, else None. `cut`: whether the text was longer."""

    ids: list[int]
    types: list[int] | None
    cut: bool


class Tokens(Protocol):
    @property
    def digest(self) -> str:
        """Of all that changes an id."""

    @property
    def size(self) -> int:
        """Every id is below it."""

    @property
    def told_pad_id(self) -> int | None:
        """None: the tokenizer knows no token that fills up."""

    @property
    def pad_id(self) -> int:
        """0 where none is known."""

    @property
    def usual_length(self) -> int: ...

    def encoder(self, max_length: int) -> Callable[[str], Encoded]:
        """What cuts a text after `max_length` tokens, the special ones included. For one thread at a time or many."""


class ByteTokens:
    """A byte's value plus one; 0 fills up. Needs no file, for trials of the fleet and for models of bytes."""

    digest = BYTES
    size = 257
    told_pad_id = pad_id = 0
    usual_length = USUAL_LENGTH

    def encoder(self, max_length: int) -> Callable[[str], Encoded]:
        def encode(text: str) -> Encoded:
            data = text.encode()
            return Encoded([byte + 1 for byte in data[:max_length]], None, len(data) > max_length)

        return encode


class FileTokens:
    """A `tokenizer.json` as the tokenizers library runs it, and what the files beside it say of padding and length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = _read(path)
        self.digest = sha256(self._data).hexdigest()
        self.size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    @cached_property
    def told_pad_id(self) -> int | None:
        padding = self._tokenizer.padding
        if padding is not None:
            return int(padding["pad_id"])
        token = _beside(self._path, _SETTINGS).get("pad_token")
        found = self._tokenizer.token_to_id(str(token.get("content", "") if isinstance(token, dict) else token))
        return None if found is None else int(found)

    @property
    def pad_id(self) -> int:
        return self.told_pad_id or 0

    @cached_property
    def usual_length(self) -> int:
        told = _beside(self._path, _SETTINGS).get("model_max_length")
        if isinstance(told, int | float) and 8 <= told < _SET_TO_NO_LIMIT:
            return min(int(told), USUAL_LENGTH)
        return USUAL_LENGTH

    def encoder(self, max_length: int) -> Callable[[str], Encoded]:
        tokenizer = _parse(self._data)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)

        def encode(text: str) -> Encoded:
            encoding = tokenizer.encode(text)
            types = encoding.type_ids if any(encoding.type_ids) else None
            return Encoded(encoding.ids, types, bool(encoding.overflowing))

        return encode

    @cached_property
    def _tokenizer(self) -> Any:
        return _parse(self._data)


def open_tokens(tokenizer: str) -> Tokens:
    """`tokenizer`: "bytes", a tokenizer.json, or the folder that holds one. Raises ModelError."""
    if tokenizer == BYTES:
        return ByteTokens()
    path = Path(tokenizer).expanduser()
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f"there is no {path.name:.80} where the tokenizer should be; write one with"
            " AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)"
        )
    return _opened(path, _changed(path), _changed(path.parent / _SETTINGS))


@lru_cache(maxsize=16)
def _opened(path: Path, *_changed: int) -> Tokens:
    return FileTokens(path)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError:
        raise ModelError(f"the tokenizer {path.name:.80} cannot be read") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ModelError(f"the tokenizer {path.name:.80} is larger than {_MAX_FILE_BYTES // 2**20} MiB")
    return data


def _parse(data: bytes) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ModelError("a tokenizer.json needs the tokenizers library: pip install 'alaas[text]'") from None
    try:
        return Tokenizer.from_buffer(data)
    except Exception:  # the library has no errors of its own
        logger.warning("a tokenizer cannot be read", exc_info=True)
        raise ModelError("its tokenizer.json is corrupt, or made by a newer tokenizers library") from None


def _beside(path: Path, name: str) -> dict[str, Any]:
    """What a file of the same folder says; {} where there is none that can be read."""
    try:
        content = json.loads((path.parent / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
