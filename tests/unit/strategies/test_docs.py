"""The code in the docs runs and says what the code in the repository does."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from alaas.config import parse_config
from alaas_workers.own_strategies import register_own
from strategies import Pool, get_strategy, registry
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


def test_the_example_of_policies_prints_what_its_comment_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "strategies.md").read_text(encoding="utf-8").split("## Batch policies\n")[1]
    code = page.split("```python\n")[1].split("```")[0]
    exec(compile(code, "strategies.md", "exec"), {})  # our own page
    assert f"# {capsys.readouterr().out.strip()}\n" in code


def test_the_configuration_of_the_how_to_makes_its_class_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator does it: the class in a package of theirs, and the lines of YAML."""
    monkeypatch.setattr(registry, "_registered", {})
    page = (DOCS / "how-to-add-a-strategy.md").read_text(encoding="utf-8")
    given = yaml.safe_load(textwrap.dedent(page.split("```yaml\n")[1].split("```")[0]))
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_strategy.py").write_text(first_python_block("how-to-add-a-strategy.md"))
    monkeypatch.syspath_prepend(str(tmp_path))
    config = parse_config(given)
    register_own(config)
    parameters = dict(config.strategy)
    assert get_strategy(parameters.pop("type"), parameters).model_dump() == {"power": 2.0}


def test_the_class_of_the_how_to_selects_as_the_example_does() -> None:
    names: dict[str, Any] = {"__name__": "how_to"}
    exec(compile(first_python_block("how-to-add-a-strategy.md"), "how-to-add-a-strategy.md", "exec"), names)
    example = load_strategy("examples.my_strategy:RareClassFirst")()
    pool = Pool(sample_ids(50), features_for(example, 50))
    mine, shipped = names["RareClassFirst"]().select(pool, 20), example.select(pool, 20)
    assert mine.indices.tolist() == shipped.indices.tolist()
    assert mine.scores.tolist() == shipped.scores.tolist()
