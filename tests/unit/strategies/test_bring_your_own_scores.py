"""docs/bring-your-own-scores.md: its examples run, and its table lists what is read."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from strategies.pool_files.contents import LABELLED_FEATURES, POOL_FEATURES, TEXTS
from tests.support.docs import DOCS, blocks

PAGE = "bring-your-own-scores.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's files are made."""
    made = tmp_path_factory.mktemp("scores")
    for code in blocks(PAGE, "python")[:2]:
        subprocess.run([sys.executable, "-c", code], cwd=made, check=True, timeout=60)
    return made


def commands() -> list[tuple[str, str]]:
    """Each command of the page, and what it says that it prints."""
    text = "".join(blocks(PAGE, "console"))
    return [(command, printed) for command, printed in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", text, re.MULTILINE)]


@pytest.mark.parametrize(("command", "printed"), commands())
def test_the_commands_print_what_the_page_says(folder: Path, command: str, printed: str) -> None:
    program = "from alaas.cli import main; main()"
    arguments = [sys.executable, "-c", program, *shlex.split(command)[1:]]
    ran = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert printed in ("", ran.stdout)


def test_the_csv_of_the_page_has_a_line_for_each_sample(folder: Path) -> None:
    test_the_commands_print_what_the_page_says(folder, commands()[1][0], "")
    assert len((folder / "chosen.csv").read_text().splitlines()) == 21


@pytest.mark.parametrize("name", sorted(POOL_FEATURES | LABELLED_FEATURES | TEXTS))
def test_every_array_that_is_read_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\| `{name}`", (DOCS / PAGE).read_text("utf-8"), re.MULTILINE)
