"""The reader of bodies by itself: what it refuses before anything is parsed, and that it stays quick and small."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from alaas.errors import InvalidRequest, MalformedRequest, TooLarge
from alaas.jobs import DatasetRequest, JobRequest, LabelsRequest
from api.bodies import json_object, json_value, ndjson_uris, parse_as, read_capped
from api.wire import PublishedRequest, ReadableRequest

DEPTH = 32
MANY = "{" + ",".join(f'"{number}": 1' for number in range(100_000)) + "}"


@pytest.mark.parametrize("nested", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_hundred_thousand_nested_brackets_are_refused_at_once(nested: bytes) -> None:
    with pytest.raises(MalformedRequest, match="nested deeper"):
        json_value(nested, DEPTH)


def test_the_deepest_nesting_allowed_is_allowed_and_one_more_is_not() -> None:
    assert json_value(b"[" * DEPTH + b"]" * DEPTH, DEPTH)
    with pytest.raises(MalformedRequest, match="nested"):
        json_value(b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), DEPTH)


def test_brackets_within_strings_are_no_nesting() -> None:
    text = json.dumps({"uris": ["[" * 99, '\\"[{' * 99, "\\" * 9]})
    assert json_object(text.encode(), DEPTH) == json.loads(text)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.text() | st.integers(-(2**62), 2**62), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_what_is_json_and_flat_is_read_as_json_reads_it(value: object) -> None:
    text = json.dumps(value)
    if "\\u0000" in text or "\\ud" in text:
        return
    assert json_value(text.encode(), 1000) == value


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_any_bytes_are_either_read_or_refused(data: bytes) -> None:
    try:
        json_value(data, DEPTH)
    except InvalidRequest:
        pass


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', '{"\\udfff": 1}', '{"a":1,"a":2}',
     '{"b":{"a":1,"a":1}}', "[1,]", "{'a':1}", '"\x01"', "", "nul", "\ufeff1", "1 2", "/**/1"],
)  # fmt: skip
def test_what_python_would_accept_and_json_is_not_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        json_value(text.encode(), DEPTH)


def test_bytes_that_are_not_utf8_are_refused_by_position() -> None:
    with pytest.raises(MalformedRequest, match="not UTF-8 at byte 2"):
        json_value(b'"a\xff"', DEPTH)
    with pytest.raises(MalformedRequest):
        json_value('{"a": 1}'.encode("utf-16"), DEPTH)


def test_a_nul_is_json_and_yet_refused_wherever_it_is() -> None:
    for text in (b'"\\u0000"', b'{"a\\u0000": 1}', b'[["\\u0000"]]'):
        with pytest.raises(InvalidRequest, match="NUL"):
            json_value(text, DEPTH)


def test_an_emoji_written_as_a_pair_of_surrogates_is_one_character() -> None:
    assert json_value(b'"\\ud83d\\ude00"', DEPTH) == "\U0001f600"


@pytest.mark.parametrize(
    "hostile", [b'"' + b'\\"' * 2_000_000, b"[]" * 2_000_000, b'{"' * 1_000_000, b'"[' * 1_000_000]
)
def test_judging_the_nesting_takes_time_linear_in_the_size(hostile: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(MalformedRequest):
        json_value(hostile, DEPTH)
    assert time.thread_time() - started < 2.0


def test_many_keys_with_one_twice_at_the_end_are_refused_quickly() -> None:
    keys = ",".join(f'"{number}":1' for number in range(100_000))
    started = time.thread_time()
    with pytest.raises(MalformedRequest, match="'7' is given twice"):
        json_value(f'{{{keys},"7":1}}'.encode(), DEPTH, has_many_keys=True)
    assert time.thread_time() - started < 2.0


@pytest.mark.parametrize("item", ["[]", "1", '""', "{}"])
def test_more_values_than_memory_should_hold_are_refused_unparsed(item: str) -> None:
    with pytest.raises(TooLarge, match="NDJSON"):
        json_value(f"[{','.join([item] * 1_000_002)}]".encode(), DEPTH)
    assert json_value(b'"' + b"," * 1_000_001 + b'"', DEPTH)


@pytest.mark.parametrize(
    ("model", "text"),
    [(JobRequest, '{"uris": [' + "1," * 900_000 + "1]}"), (LabelsRequest, '{"labels": ' + MANY + "}"),
     (JobRequest, MANY), (LabelsRequest, MANY), (JobRequest, '{"strategy": ' + MANY + "}"),
     (DatasetRequest, '{"tags": ' + MANY + "}"), (PublishedRequest, '{"data": [' + "{}," * 900_000 + "{}]}"),
     (ReadableRequest, '{"files": [' + "{}," * 90_000 + "{}]}")],
)  # fmt: skip
def test_a_million_mistakes_cost_no_more_than_the_first(model: type[BaseModel], text: str) -> None:
    started = time.thread_time()
    with pytest.raises(InvalidRequest):
        parse_as(model, text.encode(), DEPTH, has_many_keys=model is LabelsRequest)
    assert time.thread_time() - started < 2.0


def test_labels_of_any_number_are_read_and_the_wrong_one_is_named() -> None:
    labels = {f"file:///{number}": "cat" for number in range(5000)}
    assert parse_as(LabelsRequest, json.dumps({"labels": labels}).encode(), DEPTH, has_many_keys=True).labels == labels
    wrong = json.dumps({"labels": labels | {"file:///x": 3}}).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_as(LabelsRequest, wrong, DEPTH, has_many_keys=True)
    assert caught.value.field == "labels.file:///x"


def test_a_declared_length_over_the_cap_is_refused_unread() -> None:
    stream = io.BytesIO(b"x" * 10)
    with pytest.raises(TooLarge):
        list(read_capped(stream, 100, 50))
    assert stream.tell() == 0


def test_a_body_of_unknown_length_is_cut_off_at_the_cap() -> None:
    with pytest.raises(TooLarge):
        list(read_capped(io.BytesIO(b"x" * 1_000_000), None, 100_000))


def test_a_body_shorter_than_declared_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="ended early"):
        list(read_capped(io.BytesIO(b"abc"), 5, 50))


def test_a_connection_that_breaks_is_the_clients_fault() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("peer 10.0.0.1")

    with pytest.raises(MalformedRequest, match=r"^the body ended early$"):
        list(read_capped(Broken(), None, 50))


def uris(data: bytes, size: int = 7) -> list[str]:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return list(ndjson_uris(pieces, 64, DEPTH))


def test_lines_are_strings_or_objects_with_a_uri_and_blank_ones_are_passed_over() -> None:
    assert uris(b'"a"\n\n{"uri": "b"}\r\n  \n"c"') == ["a", "b", "c"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 4096])
def test_lines_are_the_same_however_the_body_is_cut(size: int) -> None:
    data = "".join(f'"http://host/{number}/é"\n' for number in range(50)).encode()
    assert uris(data, size) == [f"http://host/{number}/é" for number in range(50)]


@pytest.mark.parametrize(
    ("line", "error"),
    [(b"nope", MalformedRequest), (b"3", InvalidRequest), (b'{"uri": 3}', InvalidRequest), (b'""', InvalidRequest),
     (b'{"uri": "a", "label": "b"}', InvalidRequest), (b'"\xff"', MalformedRequest),
     (b'"' + b"x" * 80 + b'"', TooLarge),
     (b"x" * 100_000, TooLarge), (b'["a"]', InvalidRequest), (b'"\\ud800"', MalformedRequest)],
)  # fmt: skip
def test_a_bad_line_is_named_by_its_number(line: bytes, error: type[InvalidRequest]) -> None:
    with pytest.raises(error) as caught:
        uris(b'"a"\n\n' + line + b'\n"d"\n')
    assert caught.value.field == "line 3"


def test_a_stream_of_any_length_takes_bounded_memory() -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(300):
            yield f'"http://host/{number}/{"x" * 40}"\n'.encode() * 100

    tracemalloc.start()
    count = sum(1 for _ in ndjson_uris(pieces(), 256, DEPTH))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 30_000
    assert peak_bytes < 1_000_000
