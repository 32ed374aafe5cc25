"""What `Client.select` sends: a form of the request and a file, which is the user's own or is made of arrays."""

from __future__ import annotations

import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from alaas.checks import checked
from alaas.errors import ConfigError, InvalidRequest
from alaas.selections import SelectRequest

if TYPE_CHECKING:
    import numpy as np

PIECE_BYTES = 256 * 1024


class SelectForm:
    """A multipart form of known size that can be sent more than once. `file` can be sought in."""

    def __init__(self, request: SelectRequest, file: IO[bytes]) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        json = request.model_dump_json(exclude_none=True).encode()
        self._head = _part_head(boundary, "request", "application/json") + json + b"\r\n"
        self._head += _part_head(boundary, "file", "application/octet-stream", '; filename="pool"')
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self.size_bytes = len(self._head) + file.seek(0, os.SEEK_END) + len(self._tail)

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        yield self._head
        while piece := self._file.read(PIECE_BYTES):
            yield piece
        yield self._tail


def _part_head(boundary: str, name: str, kind: str, more: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{more}'
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode()


def select_request(
    *, budget: int, strategy: str | Mapping[str, Any] | None, seed: int, policy: Mapping[str, Any] | None
) -> SelectRequest:
    """Raises InvalidRequest with the field that is wrong."""
    return checked(
        SelectRequest,
        budget=budget,
        strategy=dict(strategy) if isinstance(strategy, Mapping) else strategy,
        seed=seed,
        policy=None if policy is None else dict(policy),
    )


@contextmanager
def opened_pool(
    path: str | PathLike[str] | None, ids: Iterable[str | int] | None, arrays: Mapping[str, Any]
) -> Iterator[IO[bytes]]:
    """The file at `path`, or one made of `arrays`, gone at the end. Raises InvalidRequest."""
    if (path is None) == (not arrays):
        raise InvalidRequest("give either a file's path or arrays", field="path")
    if path is None:
        with tempfile.TemporaryFile() as file:
            write_npz(file, ids, arrays)
            yield file
        return
    if ids is not None:
        raise InvalidRequest("a file holds its own ids", field="ids")
    try:
        opened = open(path, "rb")
    except OSError as error:
        raise InvalidRequest(f"{os.fspath(path)} cannot be read: {error.strerror}", field="path") from None
    with opened:
        yield opened


def write_npz(file: IO[bytes], ids: Iterable[str | int] | None, arrays: Mapping[str, Any]) -> None:
    """`arrays` as numpy.savez writes them; ids, which are mostly air (4 bytes a letter), compressed."""
    try:
        import numpy as np
        from numpy.lib import format as npy
    except ModuleNotFoundError:
        raise ConfigError("arrays take numpy: pip install numpy, or give a file's path", field="numpy") from None
    ready = {name: _array(np.asarray(array), name) for name, array in arrays.items()}
    size = next((len(array) for name, array in ready.items() if not name.startswith("labelled_")), 0)
    ready["ids"] = np.arange(size) if ids is None else _ids(list(ids))
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in ready.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED if array.dtype.kind == "U" else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _array(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if array.dtype.kind not in "fiuU" or not array.ndim:
        raise InvalidRequest(f"is no array of numbers (of {array.dtype}, shape {array.shape})", field=name)
    return array


def _ids(ids: list[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    for row, value in enumerate(ids):
        if not isinstance(value, str | int | np.integer) or isinstance(value, bool):
            raise InvalidRequest(f"an id is a text or a whole number (got {value!r:.80})", field=f"ids.{row}")
    return np.array([str(value) for value in ids], dtype=np.str_)
