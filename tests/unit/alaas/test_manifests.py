"""Manifests as their readers see them: which column, which rows, and what is said of a file that is none."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alaas.errors import ManifestError
from alaas.jobs import Listing
from alaas.manifests import Columns, format_of, parquet_rows, place_of, read_manifest
from alaas.suffixes import is_sample
from alaas.texts import text_of, text_uri

ROWS = [
    {"uri": "a.jpg", "label": "cat"},
    {"uri": "b, c.jpg", "label": ""},
    {"uri": "gr\u00fc\u00df\n.jpg", "label": "1"},
]


def as_csv(rows: list[dict[str, str]]) -> bytes:
    quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in rows]
    return ("\ufeff" + ",".join(rows[0]) + "\r\n" + "\r\n".join(quoted) + "\r\n").encode()


def as_json(rows: list[dict[str, str]]) -> bytes:
    return b"\n\n".join(json.dumps(row).encode() for row in rows)


def as_parquet(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


FILES = {
    "csv": as_csv(ROWS),
    "jsonl": as_json(ROWS),
    "parquet": as_parquet({name: [row[name] for row in ROWS] for name in ("uri", "label")}),
}


URIS = Columns()


def read(data: bytes, columns: Columns = URIS, name: str = "m.csv", format_: str | None = None) -> list[Any]:
    return [(row.number, row.value, row.label) for row in read_manifest(io.BytesIO(data), columns, name, format_)[1]]


@pytest.mark.parametrize("kind", FILES)
def test_the_same_rows_come_of_every_format(kind: str) -> None:
    found = read(FILES[kind], Columns(label="label"), f"https://host/a/m.{kind}?signature=x.y")
    assert found == [(number, row["uri"], row["label"]) for number, row in enumerate(ROWS, start=1)]


def test_the_format_is_told_by_the_name_or_given() -> None:
    assert [format_of(name) for name in ("a/B.CSV", "s3://b/x.ndjson", "x.pq", "a.csv/x", "x")] == [
        "csv", "jsonl", "parquet", None, None]  # fmt: skip
    assert read(FILES["parquet"], name="whatever") == read(FILES["csv"], name="whatever", format_="csv")
    with pytest.raises(ManifestError, match="give csv, jsonl or parquet"):
        read(FILES["csv"], name="whatever")


@pytest.mark.parametrize("kind", FILES)
def test_a_missing_column_names_those_that_are_there(kind: str) -> None:
    with pytest.raises(ManifestError, match="no column 'url'; it has: uri, label") as caught:
        read(FILES[kind], Columns(uri="url"), f"m.{kind}")
    assert caught.value.field == "listing.column"
    with pytest.raises(ManifestError, match="no column 'species'") as caught:
        read(FILES[kind], Columns(label="species"), f"m.{kind}")
    assert caught.value.field == "listing.label_column"


def test_a_manifest_without_the_usual_column_says_how_to_name_one() -> None:
    with pytest.raises(ManifestError, match="no column 'uri'; it has: text, class; name the column of URIs, or"):
        read(b"text,class\nhello,2\n", Columns(), "m.csv")


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ManifestError, match="'uri' 2 times"):
        read(b"uri,uri\na,b\n")


def test_texts_are_taken_by_name_and_by_default_in_a_dataset_of_texts() -> None:
    data = b"text,body\nhello,world\n"
    for columns, value in [(Columns(takes_texts=True), "hello"), (Columns(text="body", takes_texts=True), "world")]:
        is_text, rows = read_manifest(io.BytesIO(data), columns, "m.csv")
        assert is_text and next(rows).value == value
    is_text, _ = read_manifest(io.BytesIO(b"text,uri\nhello,a.txt\n"), Columns(takes_texts=True), "m.csv")
    assert not is_text
    with pytest.raises(ManifestError, match="no column 'uri'"):
        read(data)


def test_columns_that_contradict_the_dataset_or_each_other_are_refused() -> None:
    with pytest.raises(ManifestError, match="not both"):
        Columns.of(Listing(uri="m.csv", column="a", text_column="b"), "text")
    with pytest.raises(ManifestError, match="this one holds vision"):
        Columns.of(Listing(uri="m.csv", text_column="b"), "vision")


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "m.csv", "is empty"),
        (b"uri\na\n\xff\n", "m.csv", "line 3 is not UTF-8"),
        (b"uri,label\na,b\nc\n", "m.csv", "line 3 has 1 fields; the first line has 2"),
        (b'uri\n"a\n', "m.csv", "not CSV"),
        (b'uri\n"a"b\n', "m.csv", "line 2 is not CSV"),
        (b"uri\na\0\n", "m.csv", "line 2 holds a NUL"),
        (b"", "m.jsonl", "is empty"),
        (b'{"uri": "a"}\n{"uri": \n', "m.jsonl", "line 2 is not JSON"),
        (b'{"uri": "a", "uri": "b"}\n', "m.jsonl", "given twice"),
        (b'{"uri": NaN}\n', "m.jsonl", "NaN is no number"),
        (b'{"uri": "\xff"}\n', "m.jsonl", "line 1 is not UTF-8"),
        (b"[" * 100_000, "m.jsonl", "nested too deeply"),
        (b"[1]\n", "m.jsonl", "neither an object nor a string"),
        (b'"a"\n{"uri": "a"}\n', "m.jsonl", "row 2 is an object"),
        (b'{"uri": "a"}\n"a"\n', "m.jsonl", "row 2 is a string"),
        (b"PAR1" + b"\0" * 100, "m.csv", "damaged, or not Parquet"),
        (FILES["parquet"][:-9], "m.parquet", "damaged, or not Parquet"),
        (b"uri\na\n", "m.parquet", "damaged, or not Parquet"),
    ],
)
def test_what_is_no_manifest_is_told_with_its_line(data: bytes, name: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read(data, name=name)


def test_bare_strings_are_uris_unless_texts_are_asked_for() -> None:
    data = b'"a.jpg"\n"b.jpg"\n'
    assert [value for _, value, _ in read(data, name="m.jsonl")] == ["a.jpg", "b.jpg"]
    assert read_manifest(io.BytesIO(data), Columns(text="text", takes_texts=True), "m.jsonl")[0]


def test_columns_named_of_bare_strings_are_refused() -> None:
    for field, columns in (("column", Columns(uri="file")), ("label_column", Columns(label="kind"))):
        with pytest.raises(ManifestError, match="its rows are bare strings") as caught:
            read(b'"a.jpg"\n', columns, name="m.jsonl")
        assert caught.value.field == f"listing.{field}"


def test_a_parquet_column_of_anything_but_texts_is_refused() -> None:
    of = {"column": Columns(uri="bad"), "text_column": Columns(text="bad"), "label_column": Columns(label="bad")}
    for field, columns in of.items():
        with pytest.raises(ManifestError, match="must hold texts, not list") as caught:
            read(as_parquet({"uri": ["a"], "bad": [["a"]]}), columns)
        assert caught.value.field == f"listing.{field}"
    labels = read(as_parquet({"uri": ["a", None], "label": pa.array([3, 4], pa.int8())}), Columns(label="label"))
    assert labels == [(1, "a", 3), (2, None, 4)]


def test_a_parquet_column_without_a_value_and_one_of_string_views_are_taken() -> None:
    views = pa.array(["a", None], pa.string_view())
    rows = read(as_parquet({"uri": views, "label": pa.nulls(2)}), Columns(label="label"))
    assert rows == [(1, "a", None), (2, None, None)]


def test_a_text_that_stands_in_parquet_once_for_many_rows_is_not_unpacked_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = as_parquet({"uri": ["x" * 1_000_000] * 5000})
    assert len(data) < 200_000
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED_BYTES", 100_000_000)
    _, rows = read_manifest(io.BytesIO(data), Columns(), "m.parquet")
    with pytest.raises(ManifestError, match="unpacks to"):
        for _ in rows:
            pass


def test_what_the_footer_declares_is_judged_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = as_parquet({"uri": [f"{number:0>1000}" for number in range(3000)]}, use_dictionary=False)
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(ManifestError, match="unpacks to"):
        read_manifest(io.BytesIO(data), Columns(), "m.parquet")


@pytest.mark.parametrize(
    ("manifest", "value", "place"),
    [
        ("s3://bucket/pool/m.csv", "images/1.jpg", "s3://bucket/pool/images/1.jpg"),
        ("s3://bucket/m.csv", "a//b.jpg", "s3://bucket/a//b.jpg"),
        ("s3://bucket/pool/m.csv", "../1.jpg", "s3://bucket/1.jpg"),
        ("s3://bucket/pool/m.csv", "../../other/1.jpg", None),
        ("https://host:1/a/m.csv?key=secret#x", "b/1.jpg?v=1", "https://host:1/a/b/1.jpg?v=1"),
        ("https://host/m.csv", "s3://other/1.jpg", "s3://other/1.jpg"),
        ("https://host/m.csv", "/data/1.jpg", "/data/1.jpg"),
        ("file:///data/m.csv", "a b/1.jpg", "file:///data/a%20b/1.jpg"),
        ("file:///data/a%20b/m.csv", "../1%.jpg", "file:///data/1%25.jpg"),
        ("/data/m.csv", "1.jpg", "file:///data/1.jpg"),
        ("upload://" + "0" * 64, "1.jpg", None),
        ("data:text/csv,uri", "1.jpg", None),
    ],
)
def test_a_relative_uri_is_taken_from_the_manifests_own_and_stays_on_its_host(
    manifest: str, value: str, place: str | None
) -> None:
    assert place_of(manifest, value) == place


def test_which_files_are_samples_is_told_by_their_names() -> None:
    assert all(is_sample(name, "vision") for name in ("a.jpg", "b.PNG", "0a1b", "a.b.webp"))
    assert not any(is_sample(name, "vision") for name in ("", ".jpg", ".hidden", "a.txt", "a.", "m.csv"))
    assert is_sample("a.TXT", "text") and is_sample("a.flac", "audio") and not is_sample("a.jpg", "audio")


@pytest.mark.parametrize("text", ["", "a", "Gr\u00fc\u00dfe & 100 % \n \0 #", "\U0001f600", "x" * 4000])
def test_a_text_stands_in_its_uri_and_comes_back(text: str) -> None:
    uri = text_uri(text)
    assert uri is not None and uri.isascii() and text_of(uri) == text


def test_a_text_too_long_for_a_uri_has_none_and_a_lone_surrogate_is_no_text() -> None:
    assert text_uri("x" * 4096) is None and text_uri("\u00fc" * 1000) is None
    assert text_of("https://host/a.txt") is None
    for text in ("\ud800", "\ud800" * 5000):
        with pytest.raises(UnicodeEncodeError):
            text_uri(text)
