"""docs/conformance.md is what the tests of this session showed. Runs last; `make conformance` writes the page."""

from __future__ import annotations

import os

import pytest

from strategies import strategy_names
from tests.support.conformance import PAGE, RULES, seen


@pytest.fixture
def page() -> str:
    if not seen.has_all():
        pytest.skip("needs tests/contracts/test_strategies.py and all of tests/unit/strategies in the same session")
    return seen.page(strategy_names())


def test_the_conformance_page_tells_what_the_tests_showed(page: str) -> None:
    if os.environ.get("ALAAS_WRITE_CONFORMANCE"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "run `make conformance`, and read what changed"


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_was_put_to_every_rule_and_to_a_test_of_its_own(page: str, name: str) -> None:
    assert all(seen.rules[name, rule] for rule in RULES)
    assert seen.shown[name]
    assert "FAIL" not in page
