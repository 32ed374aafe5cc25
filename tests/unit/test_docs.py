"""Drift: what is exported, what can be configured and which strategies exist is described, and links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import alaas
from alaas.config import Config
from alaas.errors import SampleCode
from alaas.jobs import Stage
from strategies import strategy_names

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _links(page: Path) -> Iterator[tuple[Path, str]]:
    """Links of a page that stay in the repository: the file, and the heading's anchor or ''."""
    for target in LINK.findall(_without_code(page.read_text("utf-8"))):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (page.parent / name).resolve() if name else page, anchor


def _anchors(page: Path) -> set[str]:
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _links(page):
        assert target.exists(), f"{target} is not there"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in _anchors(target), f"{target.name} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES[2:], ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_page_is_in_the_index(page: Path) -> None:
    assert page == DOCS / "README.md" or page in {target for target, _ in _links(DOCS / "README.md")}


def _described_in(name: str) -> str:
    text = (DOCS / name).read_text("utf-8")
    return text


def _all_text() -> str:
    return "\n".join(page.read_text("utf-8") for page in PAGES)


@pytest.mark.parametrize("name", [name for name in alaas.__all__ if not name.startswith("_")])
def test_every_exported_name_is_described(name: str) -> None:
    assert re.search(rf"\b{name}\b", _all_text())


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_has_its_section(name: str) -> None:
    assert re.search(rf"^#+ {name}$", _described_in("strategies.md"), re.MULTILINE)


@pytest.mark.parametrize("section", Config.model_fields)
def test_every_section_of_the_configuration_is_described(section: str) -> None:
    assert re.search(rf"`{section}[.`:]|^## `?{section}`?", _described_in("configuration.md"), re.MULTILINE)


@pytest.mark.parametrize("word", [*Stage, "chunk", "ledger", "catalog", "feature", "report"])
def test_the_words_of_the_flow_are_in_the_glossary(word: str) -> None:
    assert word in _described_in("glossary.md").lower()


def test_every_sample_code_is_described() -> None:
    text = _all_text()
    assert not [code for code in SampleCode if f"`{code}`" not in text]


@pytest.mark.parametrize("target", ["help", "demo", "test", "lint", "chaos", "bench", "serve"])
def test_make_help_lists_what_make_does(target: str) -> None:
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^make {target} ", said.stdout, re.MULTILINE)


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert text.index("## [Unreleased]") < text.index("### Added")
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (DOCS / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))
    assert all(re.fullmatch(r"\d{4}", number) for number in numbers)
