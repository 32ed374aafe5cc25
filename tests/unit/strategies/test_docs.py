"""The code in the docs runs and says what the code in the repository does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from strategies import Pool
from strategies.registry import load_strategy
from tests.support.pools import features_for, sample_ids

DOCS = Path(__file__).resolve().parents[3] / "docs"


def first_python_block(page: str) -> str:
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_example_of_the_zoo_prints_what_its_comment_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = first_python_block("strategies.md")
    exec(compile(code, "strategies.md", "exec"), {})  # our own page
    assert f"# {capsys.readouterr().out.strip()}\n" in code


def test_the_class_of_the_how_to_selects_as_the_example_does() -> None:
    names: dict[str, Any] = {"__name__": "how_to"}
    exec(compile(first_python_block("how-to-add-a-strategy.md"), "how-to-add-a-strategy.md", "exec"), names)
    example = load_strategy("examples.my_strategy:RareClassFirst")()
    pool = Pool(sample_ids(50), features_for(example, 50))
    mine, shipped = names["RareClassFirst"]().select(pool, 20), example.select(pool, 20)
    assert mine.indices.tolist() == shipped.indices.tolist()
    assert mine.scores.tolist() == shipped.scores.tolist()
