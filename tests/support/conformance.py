"""What the tests showed of each strategy, as docs/conformance.md: pytest's hooks collect it while the tests run.

A contract test carries `rule(number)`, a test of one strategy's own definition carries `shows(strategy, what)`. The
test that compares the page with what was seen runs last (tests/unit/strategies/test_conformance.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
LAST = "test_conformance.py"
RULES = {
    1: "scores are finite; NaN and Inf in the input are refused, naming the rows",
    2: "rows whose probabilities do not sum to 1 are refused, naming them",
    3: "exactly min(b, N) distinct samples, in rank order",
    4: "ties break by seed and id: the pool's order and its layout in memory change nothing, to the last bit",
    5: "every draw comes from the job's seed, and the global generators are left alone",
    6: "no N × N and no b × N array: peak memory is measured",
    7: "b > N, b = 0, N = 0, N = 1, nothing labelled, one class, identical rows: each is defined",
    8: "inputs are never changed",
}

_HEAD = """# Conformance

Which rule each strategy was shown to keep, and what its definition was compared with. The tests write this page
(`make conformance`), and fail when it is not what they saw. **✓**: every test of the rule passed; **–**: the rule does
not concern the strategy.

## The rules for all

"""


@dataclass
class Seen:
    """Outcomes of this session's tests."""

    files: set[Path] = field(default_factory=set)
    left_out: set[Path] = field(default_factory=set)
    rules: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    shown: dict[str, dict[tuple[str, str], set[str]]] = field(default_factory=lambda: defaultdict(dict))

    def has_all(self) -> bool:
        """Whether nothing that the page tells of was left out of this session."""
        wanted = {*(ROOT / "tests/unit/strategies").glob("test_*.py"), ROOT / "tests/contracts/test_strategies.py"}
        return wanted <= self.files and not wanted & self.left_out

    def page(self, strategies: list[str]) -> str:
        """The page as Markdown."""
        lines = [f"{number}. {text}" for number, text in RULES.items()]
        lines += ["", "| strategy | " + " | ".join(map(str, RULES)) + " |", "|---|" + "---|" * len(RULES)]
        for name in strategies:
            cells = (_verdict(self.rules.get((name, rule), set())) for rule in RULES)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", "## The definitions"]
        for name in strategies:
            lines += ["", f"### {name}", ""]
            shown = sorted(self.shown.get(name, {}).items())
            lines += [f"- {_verdict(outcomes)} {what} (`{test}`)" for (what, test), outcomes in shown]
        return _HEAD + "\n".join(lines) + "\n"


def _verdict(outcomes: set[str]) -> str:
    if "failed" in outcomes:
        return "FAIL"
    return "✓" if "passed" in outcomes else "–"


seen = Seen()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)  # stable: only the comparison moves
    seen.files |= {item.path for item in items}


def pytest_deselected(items: list[pytest.Item]) -> None:
    seen.left_out |= {item.path for item in items}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        for marker in item.iter_markers("rule"):
            seen.rules[_strategy_of(item), marker.args[0]].add(report.outcome)
        for marker in item.iter_markers("shows"):
            strategy, what = marker.args
            test = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
            seen.shown[strategy].setdefault((what, test), set()).add(report.outcome)
    return report


def _strategy_of(item: Any) -> str:
    return str(item.callspec.params.get("strategy", "")) if hasattr(item, "callspec") else ""
