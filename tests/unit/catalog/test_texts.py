from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.errors import InvalidRequest
from alaas_workers.catalog import sample_id
from alaas_workers.catalog.texts import as_json, check_text

holdable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=50)


@given(holdable)
def test_text_that_databases_hold_passes_unchanged(text: str) -> None:
    assert check_text(text, "name") == text


@given(st.text(), st.sampled_from(["\x00", "\ud800", "\udfff"]), st.text())
def test_a_nul_or_a_surrogate_anywhere_is_refused(before: str, bad: str, after: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_text(before + bad + after, "name", 10_000)
    assert caught.value.field == "name"


def test_the_longest_text_is_counted_in_characters() -> None:
    assert check_text("ü" * 5, "name", 5)
    with pytest.raises(InvalidRequest, match="1 to 5"):
        check_text("ü" * 6, "name", 5)


def test_what_is_no_text_is_refused() -> None:
    for value in (None, 5, b"bytes", ["a"]):
        with pytest.raises(InvalidRequest):
            check_text(value, "name")


def test_ids_of_samples_never_change() -> None:
    """Another digest would make every stored sample a stranger."""
    assert sample_id("file:///data/1.png") == "7de677ab98ae9a0b976365cbf08c5620"


@pytest.mark.parametrize("bad", [{"a": float("inf")}, {"a": object()}, {"a": "\udc80"}])
def test_json_refuses_what_cannot_come_back(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        as_json(bad, "strategy")


def test_json_refuses_what_is_nested_too_deeply() -> None:
    nested: dict[str, object] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest):
        as_json(nested, "strategy")
