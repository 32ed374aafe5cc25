"""`alaas demo`, as a newcomer types it in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from alaas.jobs import Report
from tests.support.users import Started, alaas_command, running_below

BUDGET, POOL = 100, 1597


def run_demo(folder: Path, *options: str) -> str:
    """What it said. It must end by itself, in peace, with nothing left running and its files in `alaas-demo`."""
    with Started(alaas_command("demo", *options), folder) as started:
        status = started.wait(timeout_s=280)
        said = started.output
    assert status == 0, said[-3000:]
    assert "Traceback" not in said and "WARNING" not in said, said
    assert running_below(folder) == []
    report = Report.model_validate_json((folder / "alaas-demo" / "report.json").read_bytes())
    assert len({chosen.id for chosen in report.selected}) == BUDGET
    assert report.pool == POOL and report.failed == [] and report.duplicates == 0
    with Image.open(folder / "alaas-demo" / "chosen.png") as picture:
        assert picture.width > 500 and picture.height > 500 and len(picture.convert("L").getcolors() or []) > 50
    return said


def accuracies(said: str, row: str) -> list[float]:
    """In per cent: with the first labels, with what was chosen, with what chance chose."""
    (line,) = [line for line in said.splitlines() if re.match(rf"\s+{row}\s+[0-9.]+%", line)]
    return [float(number) for number in re.findall(r"([0-9.]+)%", line)]


@pytest.mark.timeout(300)
def test_the_demo_shows_the_report_and_what_it_was_worth_and_leaves_nothing_running(tmp_path: Path) -> None:
    said = run_demo(tmp_path, "--seeds", "1")
    assert re.search(rf"scanned {POOL} images in .* s, selected {BUDGET} in", said)
    assert re.search(r"\n +1 +0\.\d{4} +[0-9a-f]{12}\.\.\. +digit-\d{4}\.png", said)
    assert accuracies(said, "0") == accuracies(said, "mean")
    before, chosen, _ = accuracies(said, "mean")
    assert 90 < before < chosen < 100


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_over_five_seeds_what_was_chosen_is_worth_more_than_what_chance_chose(tmp_path: Path) -> None:
    said = run_demo(tmp_path)
    before, chosen, at_random = accuracies(said, "mean")
    assert before < at_random < chosen
