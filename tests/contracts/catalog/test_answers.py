from __future__ import annotations

from datetime import timedelta

import pytest

from alaas.errors import Conflict, InvalidRequest
from alaas_workers.catalog import Catalog, answers
from tests.support.catalogs import OTHER, OWNER


def test_an_answer_is_remembered_by_owner_and_key(catalog: Catalog) -> None:
    catalog.memorise(OWNER, "k", "d", 201, b"\x00\xff{}")
    assert catalog.remember(OWNER, "k", "d") == (201, b"\x00\xff{}")
    assert catalog.remember(OTHER, "k", "d") is None
    assert catalog.remember(OWNER, "other", "d") is None


def test_a_key_of_another_request_is_a_conflict(catalog: Catalog) -> None:
    catalog.memorise(OWNER, "k", "d", 201, b"first")
    with pytest.raises(Conflict):
        catalog.remember(OWNER, "k", "e")
    with pytest.raises(Conflict):
        catalog.memorise(OWNER, "k", "e", 201, b"second")


def test_the_first_answer_stays(catalog: Catalog) -> None:
    catalog.memorise(OWNER, "k", "d", 201, b"first")
    catalog.memorise(OWNER, "k", "d", 200, b"second")
    assert catalog.remember(OWNER, "k", "d") == (201, b"first")


def test_old_answers_are_forgotten(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.memorise(OWNER, "old", "d", 201, b"")
    monkeypatch.setattr(answers, "KEPT", timedelta(0))
    catalog.memorise(OWNER, "new", "d", 201, b"")
    assert catalog.remember(OWNER, "old", "d") is None


@pytest.mark.parametrize("bad", ["", "nul\x00", "surrogate\ud800", "k" * 256])
def test_a_key_that_no_database_can_hold_is_refused(catalog: Catalog, bad: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        catalog.remember(OWNER, bad, "d")
    assert caught.value.field == "Idempotency-Key"
    with pytest.raises(InvalidRequest):
        catalog.memorise(OWNER, bad, "d", 200, b"")
