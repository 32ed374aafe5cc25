from __future__ import annotations

import re
from pathlib import Path

from alaas.config.reference import markdown, rewritten, settings
from alaas.config.schema import Config

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_is_what_the_schema_says() -> None:
    page = PAGE.read_text("utf-8")
    assert page == rewritten(page), "write it anew: python -m alaas.config.reference"


def test_every_setting_has_a_line_and_a_reason() -> None:
    lines = markdown().splitlines()
    for path in settings():
        section, _, name = path.rpartition(".")
        start = lines.index(f"### `{section}`" if section else "### At the top")
        line = next(line for line in lines[start:] if line.startswith(f"| `{name}` |"))
        assert re.fullmatch(r"\| `\w+` \| [^|]+ \| [^|]* \| [^|]+ \|", line), path


def test_every_section_of_the_schema_is_named() -> None:
    assert {path.partition(".")[0] for path in settings()} == set(Config.model_fields)
