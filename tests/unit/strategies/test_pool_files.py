"""Pools from files: both formats hold the same, and what is wrong or hostile in one is a typed error that names it."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.lib import format as npy

import strategies
from strategies import StrategyError
from strategies.pool_files import PoolContents, PoolLimits, PoolTooLarge, read_pool
from strategies.pool_files.contents import LABELLED_FEATURES, POOL_FEATURES

LIMITS = PoolLimits(max_rows=1000, max_bytes=1_000_000)
ROWS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
IDS = ["a", "b", "c"]


def npz(compressed: bool = False, **arrays: Any) -> io.BytesIO:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file


def parquet(**columns: Any) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file


def members(**given: bytes) -> io.BytesIO:
    """A zip whose members are just these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in given.items():
            archive.writestr(f"{name}.npy", data)
    return file


def npy_header(descr: Any, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def npy_bytes(array: Any, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    npy.write_array(file, np.asarray(array), allow_pickle=allow_pickle)
    return file.getvalue()


def read(file: io.BytesIO, limits: PoolLimits = LIMITS) -> PoolContents:
    return read_pool(file, limits)


def refused(file: io.BytesIO, limits: PoolLimits = LIMITS) -> StrategyError:
    with pytest.raises(StrategyError) as caught:
        read(file, limits).pool(seed=0)
    return caught.value


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_gives_back_what_was_saved(dtype: Any, compressed: bool) -> None:
    contents = read(npz(compressed, ids=np.array(IDS), probabilities=ROWS.astype(dtype), sources=np.array(["x"] * 3)))
    assert contents.ids == IDS and contents.sources == ["x"] * 3
    assert contents.features["probabilities"].dtype == dtype
    assert contents.features["probabilities"].tolist() == ROWS.tolist()


@pytest.mark.parametrize("array", [np.asfortranarray(ROWS), ROWS.astype(">f4"), ROWS[::1]])
def test_the_layout_of_an_array_does_not_matter(array: Any) -> None:
    found = read(npz(ids=np.array(IDS), probabilities=array)).features["probabilities"]
    assert found.tolist() == ROWS.tolist()
    assert found.dtype.isnative


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2)])
def test_lists_of_every_kind_are_read(kind: pa.DataType, listed: Callable[[pa.DataType], pa.DataType]) -> None:
    found = read(parquet(id=IDS, probabilities=pa.array(ROWS.tolist(), listed(kind))))
    assert found.ids == IDS
    assert found.features["probabilities"].tolist() == ROWS.tolist()


def test_one_column_for_each_value_is_read_in_the_order_of_its_numbers() -> None:
    columns = {f"embeddings_{k}": np.full(3, k, dtype=np.float32) for k in reversed(range(12))}
    assert read(parquet(id=IDS, **columns)).features["embeddings"].tolist() == [list(range(12))] * 3


def test_passes_are_lists_of_lists() -> None:
    passes = np.stack([ROWS, ROWS[::-1]], axis=1)
    assert read(parquet(id=IDS, passes=passes.tolist())).features["passes"].tolist() == passes.tolist()
    assert read(npz(ids=np.array(IDS), passes=passes)).pool(0).features["pass_sums"].shape == (3, 3)


def test_many_batches_of_many_row_groups_stay_in_order() -> None:
    count = 10_000
    values = np.arange(count * 3, dtype=np.float64).reshape(count, 3)
    file = io.BytesIO()
    pq.write_table(pa.table({"id": np.arange(count), "embeddings": values.tolist()}), file, row_group_size=700)
    found = read(file, PoolLimits(count, 10_000_000))
    assert found.ids == [str(number) for number in range(count)]
    assert np.array_equal(found.features["embeddings"], values)


@pytest.mark.parametrize("file", [npz(ids=np.array([3, 1, 2])), parquet(id=[3, 1, 2]), parquet(ids=["3", "1", "2"])])
def test_whole_numbers_are_ids_as_text(file: io.BytesIO) -> None:
    assert read(file).ids == ["3", "1", "2"]


def test_ids_of_a_dictionary_column_are_texts() -> None:
    assert read(parquet(id=pa.array(IDS).dictionary_encode())).ids == IDS


def test_labelled_samples_come_with_an_npz() -> None:
    file = npz(ids=np.array(IDS), embeddings=ROWS, labelled_embeddings=ROWS[:1], labelled_classes=np.array([7]))
    assert read(file).pool(0).features["labelled_classes"].tolist() == [7.0]


def test_one_distance_a_row_is_a_column() -> None:
    for file in (npz(ids=np.array(IDS), boundary_distances=ROWS[:, 0]), parquet(id=IDS, boundary_distances=ROWS[:, 0])):
        assert read(file).pool(0).features["boundary_distances"].shape == (3, 1)


def test_a_pool_of_nothing_is_a_pool() -> None:
    for file in (
        npz(ids=np.array([], dtype=str), probabilities=np.empty((0, 2))),
        parquet(id=pa.array([], pa.string()), probabilities=pa.array([], pa.list_(pa.float32()))),
    ):
        assert len(read(file).pool(0)) == 0


def test_a_feature_of_the_users_own_strategy_is_taken_by_its_name() -> None:
    file = npz(ids=np.array(IDS), loudness=ROWS)
    assert refused(file).field == "loudness"
    assert "loudness" in read_pool(file, LIMITS, {"loudness"}).features


def test_every_feature_of_the_pool_is_known() -> None:
    described = strategies.Pool.__doc__ or ""
    assert all(f'"{name}"' in described for name in POOL_FEATURES | LABELLED_FEATURES)


@pytest.mark.parametrize(
    ("file", "field", "word"),
    [
        (npz(probabilities=ROWS), "ids", "no ids"),
        (parquet(probabilities=ROWS.tolist()), "ids", "no ids"),
        (npz(ids=np.array(IDS), probabilites=ROWS), "probabilites", "'probabilities'"),
        (parquet(id=IDS, embedings=ROWS.tolist()), "embedings", "'embeddings'"),
        (parquet(id=IDS, embedings_0=[1.0] * 3), "embedings", "'embeddings'"),
        (npz(ids=np.array(["a", "a", "b"]), probabilities=ROWS), "ids", "repeat"),
        (parquet(id=["a", None, "b"]), "ids", "row 1 is missing"),
        (npz(ids=np.array(["a", "", "b"])), "ids", "row 1"),
        (parquet(id=["a", "b\n", "c"]), "ids", "control"),
        (npz(ids=np.array([["a"]])), "ids", "list of texts"),
        (npz(ids=np.array([1.0])), "ids", "float64"),
        (parquet(id=[1.5]), "ids", "double"),
        (parquet(id=[True]), "ids", "bool"),
        (npz(ids=np.array(IDS), probabilities=ROWS[:2]), "probabilities", "2 rows for 3 ids"),
        (npz(ids=np.array(IDS), probabilities=np.ones((3, 2), int)), "probabilities", "int64"),
        (npz(ids=np.array(IDS), probabilities=ROWS.astype(np.longdouble)), "probabilities", "float128"),
        (npz(ids=np.array(IDS), probabilities=ROWS.astype(complex)), "probabilities", "complex"),
        (parquet(id=IDS, probabilities=[[1, 0]] * 3), "probabilities", "int64"),
        (parquet(id=IDS, probabilities=["x"] * 3), "probabilities", "string"),
        (parquet(id=IDS, probabilities=[{"a": 1.0}] * 3), "probabilities", "struct"),
        (parquet(id=IDS, embeddings=[[1.0], [1.0, 2.0], [1.0]]), "embeddings", "row 1 is of another length"),
        (parquet(id=IDS, passes=[[[1.0]], [[1.0]], [[1.0, 2.0]]]), "passes", "row 2 is"),
        (parquet(id=IDS, embeddings=[[1.0], None, [1.0]]), "embeddings", "row 1 is null"),
        (parquet(id=IDS, embeddings=[[1.0, 2.0], [1.0, 2.0], [1.0, None]]), "embeddings", "row 2 is null"),
        (parquet(id=IDS, embeddings_0=[1.0, None, 1.0]), "embeddings", "row 1 is null"),
        (parquet(id=IDS, embeddings_0=[1.0] * 3, embeddings_2=[1.0] * 3), "embeddings", "embeddings_1 is missing"),
        (parquet(id=IDS, embeddings_0=[1.0] * 3, embeddings=[[1.0]] * 3), "embeddings", "as a list and"),
        (parquet(id=IDS, ids=IDS), "ids", "twice"),
        (parquet(id=IDS, id_0=IDS), "ids", "one column"),
        (parquet(id=IDS, labelled_embeddings=ROWS.tolist()), "labelled_embeddings", "NPZ"),
        (npz(ids=np.array(IDS), probabilities=ROWS * np.nan), "probabilities", "rows 0, 1, 2"),
        (npz(ids=np.array(IDS), probabilities=ROWS * 2), "probabilities", "do not sum to 1"),
        (npz(ids=np.array(IDS), embeddings=np.full((3, 1), np.inf)), "embeddings", "Inf"),
        (io.BytesIO(b""), "file", "empty"),
        (io.BytesIO(b"id,probabilities\n"), "file", "neither"),
        (io.BytesIO(npy_bytes(ROWS)), "file", "numpy.savez"),
        (io.BytesIO(pickle.dumps(ROWS)), "file", "neither"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(file: io.BytesIO, field: str, word: str) -> None:
    error = refused(file)
    assert error.field == field
    assert word in error.detail


def test_two_columns_of_one_name_are_refused() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table([pa.array(IDS), pa.array(IDS)], names=["id", "id"]), file)
    assert "twice" in refused(file).detail


class Planted:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    "ids", [npy_bytes(np.array([Planted()], dtype=object), allow_pickle=True), pickle.dumps(Planted())]
)
def test_no_pickle_is_ever_loaded(ids: bytes) -> None:
    assert refused(members(ids=ids)).field in ("ids", "file")


@pytest.mark.parametrize("descr", ["|O", [("a", "<f4")], "|V8", "<M8[s]", [("a", "|O")]])
def test_arrays_of_objects_and_records_are_refused(descr: Any) -> None:
    file = members(ids=npy_bytes(np.array(IDS)), embeddings=npy_header(descr, (3, 1)) + b"\0" * 24)
    assert refused(file).field == "embeddings"


def test_a_bomb_is_refused_by_its_header_before_it_is_unpacked() -> None:
    zeros = np.zeros((1000, 10_000), dtype=np.float64)
    file = npz(True, ids=np.arange(1000), embeddings=zeros)
    assert len(file.getvalue()) < LIMITS.max_bytes < zeros.nbytes
    error = refused(file)
    assert isinstance(error, PoolTooLarge) and "80008000" in error.detail


def test_a_parquet_bomb_is_refused() -> None:
    file = parquet(id=np.arange(1000), embeddings=[[0.0] * 1000] * 1000)
    assert len(file.getvalue()) < 100_000
    assert isinstance(refused(file), PoolTooLarge)


def test_a_parquet_bomb_that_its_footer_does_not_tell_is_refused() -> None:
    """Equal values are written once with their count."""
    values = pa.ListArray.from_arrays(pa.array([0, 2**20], pa.int32()), pa.array(np.zeros(2**20, np.float32)))
    file = parquet(id=["a"], embeddings=values)
    assert pq.ParquetFile(file).metadata.row_group(0).total_byte_size < 1000
    assert isinstance(refused(file), PoolTooLarge)


def test_a_pool_above_the_cap_is_refused() -> None:
    for file in (npz(ids=np.arange(1001)), parquet(id=np.arange(1001))):
        error = refused(file)
        assert isinstance(error, PoolTooLarge) and "1001 rows; at most 1000" in error.detail


def test_more_arrays_than_a_pool_can_have_are_refused() -> None:
    assert isinstance(refused(members(**{f"a{number}": b"" for number in range(65)})), PoolTooLarge)


@pytest.mark.parametrize(
    "data",
    [
        npy_header("<f8", (3, 10**15)),
        npy_header("<f8", (3, -1)) + b"\0" * 24,
        npy_header("<f8", (2**62, 4)),
        npy_header("<f8", ()) + b"\0" * 8,
        npy_header("<f8", (1, 1, 1, 3)) + b"\0" * 24,
        npy_header("<f8", (3, 2)) + b"\0" * 24,
        npy_header("<f8", (3, 1)) + b"\0" * 25,
        npy_header("<f8", (3, 0, 10**18)),
        b"\x93NUMPY\x03\x00" + npy_header("<f8", (3, 1))[8:],
        b"\x93NUMPY\x01\x00\xff\xff{'descr': " + b"[" * 60_000,
        b"\x93NUMPY\x01\x00",
        b"",
    ],
)
def test_a_header_that_lies_is_refused(data: bytes) -> None:
    assert refused(members(ids=npy_bytes(np.array(IDS)), embeddings=data)).field in ("embeddings", "file")


def test_letters_that_are_none_are_refused() -> None:
    """UCS-4 beyond Unicode, and a lone surrogate."""
    for letter in (0x110000, 0xD800):
        file = members(ids=npy_header("<U1", (1,)) + struct.pack("<I", letter))
        assert refused(file).field in ("ids", "file")


@pytest.mark.parametrize(
    "whole", [npz(True, ids=np.array(IDS), probabilities=ROWS), parquet(id=IDS, embeddings=ROWS.tolist())]
)
def test_a_file_that_was_cut_off_or_damaged_is_refused_or_still_read(whole: io.BytesIO) -> None:
    data = whole.getvalue()
    for end in range(0, len(data), 37):
        assert refused(io.BytesIO(data[:end])).field == "file"
    draw = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in draw.integers(4, len(data), 3):
            damaged[place] = draw.integers(256)
        try:
            read(io.BytesIO(bytes(damaged))).pool(0)
        except StrategyError:
            pass


def test_a_zip_of_another_compression_or_with_a_member_twice_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("ids.npy", npy_bytes(np.array(IDS)))
    assert "compressed by other means" in refused(file).detail
    file = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "w") as archive:
        for _ in range(2):
            archive.writestr("ids.npy", npy_bytes(np.array(IDS)))
    assert "twice" in refused(file).detail


def test_scores_of_labels_and_of_boxes_are_known_whatever_the_strategy_needs() -> None:
    """One file for both strategies: each takes its own."""
    for name in ("label_probabilities", "box_scores"):
        arrays: dict[str, Any] = {name: ROWS}
        for file in (npz(ids=np.array(IDS), **arrays), parquet(id=IDS, **{name: ROWS.tolist()})):
            assert read(file).pool(0).features[name].shape == ROWS.shape
