"""NPZ: a zip of `.npy` arrays. Headers and sizes first, then the values; nothing that could hold a pickle is opened."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from strategies.errors import StrategyError
from strategies.pool_files.contents import (
    IDS,
    TEXTS,
    PoolContents,
    PoolLimits,
    PoolTooLarge,
    as_feature,
    check_floats,
    check_present,
    checked_texts,
    is_labelled,
    known_name,
)

MAX_MEMBERS = 64
MAX_HEADER = 10_000  # characters; it is parsed as a Python literal
PIECE_BYTES = 1024 * 1024
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class _Member:
    """An array that is declared and not read yet."""

    info: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(file: IO[bytes], limits: PoolLimits, also: Collection[str]) -> PoolContents:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, also)
        check_present(members)
        _check_sizes(members, limits)
        arrays = {name: _values(archive, member) for name, member in members.items()}
    texts = {name: checked_texts(arrays.pop(name).tolist(), name) for name in TEXTS & arrays.keys()}
    features = {name: as_feature(name, array) for name, array in arrays.items()}
    return PoolContents(texts[IDS], features, texts.get("sources"))


def _members(archive: zipfile.ZipFile, also: Collection[str]) -> dict[str, _Member]:
    found: dict[str, _Member] = {}
    if len(archive.infolist()) > MAX_MEMBERS:
        raise PoolTooLarge(f"the file holds {len(archive.infolist())} arrays; at most {MAX_MEMBERS} are taken")
    for info in archive.infolist():
        name = known_name(info.filename.removesuffix(".npy"), also)
        if name in found:
            raise StrategyError(f"{name} is there twice", field=name)
        found[name] = _header(archive, info, name)
    return found


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> _Member:
    if info.compress_type not in _PLAIN or info.flag_bits & _ENCRYPTED:
        raise StrategyError(
            f"{name} is encrypted, or compressed by other means than numpy.savez_compressed", field=name
        )
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise StrategyError(f"{name} is no plain array", field=name)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(stream, max_header_size=MAX_HEADER)
        member = _Member(info, dtype, shape, is_fortran)
        _check_kind(name, dtype, shape)
        if member.size_bytes != info.file_size - stream.tell():
            raise StrategyError(f"{name} has another size than its header says", field=name)
    return member


def _check_kind(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.hasobject:
        raise StrategyError(f"{name} is an array of objects, which would be a pickle; none is read", field=name)
    if min(shape, default=0) < 0 or not 1 <= len(shape) <= 3:
        raise StrategyError(f"{name} must have one row for each sample, not the shape {shape!s:.80}", field=name)
    if name not in TEXTS:
        check_floats(name, dtype.kind, dtype.itemsize, str(dtype))
    elif dtype.kind not in "Uiu" or len(shape) != 1:
        raise StrategyError(f"{name} must be a list of texts or whole numbers, not of {dtype!s:.80}", field=name)


def _check_sizes(members: dict[str, _Member], limits: PoolLimits) -> None:
    size = members[IDS].shape[0]
    for name, member in members.items():
        limits.check_rows(member.shape[0], name)
        if not is_labelled(name) and member.shape[0] != size:
            raise StrategyError(f"{name} has {member.shape[0]} rows for {size} ids", field=name)
    limits.check_bytes(sum(member.size_bytes for member in members.values()))


def _values(archive: zipfile.ZipFile, member: _Member) -> NDArray[Any]:
    flat = np.empty(member.size_bytes, dtype=np.uint8)
    with archive.open(member.info) as stream:
        stream.seek(member.info.file_size - member.size_bytes)
        filled = 0
        while piece := stream.read(min(PIECE_BYTES, member.size_bytes - filled + 1)):
            flat[filled : filled + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            filled += len(piece)
    if filled != member.size_bytes:
        raise EOFError("an array ends early")
    return flat.view(member.dtype).reshape(member.shape, order="F" if member.is_fortran else "C")
