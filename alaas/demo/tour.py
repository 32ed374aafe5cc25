"""The demo's story: serve a small model, push a pool, choose 100 of it, show them, and measure what they were worth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alaas.demo import digits

LABELLED, BUDGET, SEEDS = 200, 100, 5
STRATEGY = "MarginConfidence"


@dataclass(frozen=True)
class Round:
    """One seed: who is labelled at the start, who is in the pool, and the model that the labels gave."""

    seed: int
    labelled: Any
    pool: Any
    model: Any

    @property
    def name(self) -> str:
        return f"digits-{self.seed}"


@dataclass(frozen=True)
class Worth:
    """Accuracy of the first model, and after 100 more labels: chosen by the strategy, or at random."""

    before: float
    chosen: float
    at_random: float


def run(folder: Path | str = "alaas-demo", say: Callable[[str], None] = print, *, seeds: int = SEEDS) -> Path:
    """Run the demo in `folder`; returns the path of the picture. `seeds`: how often it is repeated to compare."""
    from alaas.server import Server

    folder = Path(folder).resolve()
    data, rounds = _prepare(folder, say, seeds)
    started = time.monotonic()
    say("\n2. Start the fleet: an embedded Redis for the ledger and one for the cache, the API, and a pool a stage")
    with Server(_write_config(folder, rounds), port=0) as server:
        say(f"   ready at {server.url} after {time.monotonic() - started:.1f} s")
        with server.client() as client:
            say(f"\n3. Push the pool of {len(rounds[0].pool)} images, and choose {BUDGET} by {STRATEGY}")
            picks = {}
            for one in rounds:
                paths = [str(data.paths[i]) for i in one.pool]
                if one.seed == 0:
                    picks[0] = _main_job(client, paths, folder, say)
                    if seeds > 1:
                        say(f"\n5. The same for {seeds - 1} more, each with its own 200 labels and its own model")
                else:
                    picks[one.seed] = client.query_by_uri(paths, budget=BUDGET, strategy=STRATEGY, model=one.name)
    say("   the fleet is stopped")
    _show_worth([_worth(data, one, picks[one.seed]) for one in rounds], say)
    picture = folder / "chosen.png"
    say(f"\nThe picture: {picture}\nThe report:  {folder / 'report.json'}")
    return picture


def _prepare(folder: Path, say: Callable[[str], None], seeds: int) -> tuple[digits.Digits, list[Round]]:
    import numpy as np

    say(f"1. Write scikit-learn's digits as PNG files into {folder}, and train {seeds} small models on 200 labels each")
    data = digits.write_digits(folder / "images")
    rounds = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(data.paths))
        labelled, pool = order[:LABELLED], order[LABELLED:]
        model = digits.train(data.pixels[labelled], data.labels[labelled], seed)
        digits.save_weights(model, folder / f"digits-{seed}.safetensors")
        rounds.append(Round(seed, labelled, pool, model))
    return data, rounds


def _write_config(folder: Path, rounds: list[Round]) -> Path:
    config = {
        "name": "DEMO",
        "strategy": {"type": STRATEGY},
        "models": {one.name: digits.model_config(folder / f"{one.name}.safetensors") for one in rounds},
        "sources": {"file": {"roots": [str(folder / "images")]}},
        "storage": {"data_dir": str(folder / "data")},
    }
    path = folder / "demo.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _main_job(client: Any, paths: list[str], folder: Path, say: Callable[[str], None]) -> Any:
    started = time.monotonic()
    client.push_data(paths, asynchronous=False)
    scanned_s = time.monotonic() - started
    started = time.monotonic()
    selected = client.query(budget=BUDGET)
    selected_s = time.monotonic() - started
    report = selected.report
    (folder / "report.json").write_text(report.model_dump_json(indent=1))
    say(f"   scanned {report.pool} images in {scanned_s:.1f} s, selected {len(selected)} in {selected_s:.2f} s")
    say(f"\n4. The report ({len(report.failed)} samples failed): what to label first")
    say(f"   {'rank':>4}  {'score':>7}  sample            file")
    for chosen, path in list(zip(report.selected, selected, strict=True))[:10]:
        say(f"   {chosen.rank:>4}  {chosen.score:7.4f}  {chosen.id[:12]}...   {Path(path).name}")
    say(f"   ... and {len(selected) - 10} more")
    digits.contact_sheet(selected, [chosen.score for chosen in report.selected], folder / "chosen.png")
    return selected


def _worth(data: digits.Digits, one: Round, selected: list[str]) -> Worth:
    """Label what was chosen, train again, and measure beside a random choice on samples that neither has seen."""
    import numpy as np

    place = {str(path): number for number, path in enumerate(data.paths)}
    chosen = np.array([place[path] for path in selected])
    at_random = np.random.default_rng(1000 + one.seed).choice(one.pool, BUDGET, replace=False)
    unseen = np.setdiff1d(one.pool, np.union1d(chosen, at_random))

    def measure(model: Any) -> float:
        return digits.accuracy(model, data.pixels[unseen], data.labels[unseen])

    def retrained(more: Any) -> float:
        seen = np.concatenate([one.labelled, more])
        return measure(digits.train(data.pixels[seen], data.labels[seen], one.seed))

    return Worth(measure(one.model), retrained(chosen), retrained(at_random))


def _show_worth(rows: list[Worth], say: Callable[[str], None]) -> None:
    say(f"\n6. Label what was chosen and train again: accuracy on samples that no training saw ({len(rows)} seeds)")
    say(f"   {'seed':>4}  {'200 labels':>10}  {'+100 chosen':>11}  {'+100 random':>11}")
    for seed, row in enumerate(rows):
        say(f"   {seed:>4}  {row.before:10.2%}  {row.chosen:11.2%}  {row.at_random:11.2%}")
    mean = [sum(getattr(row, name) for row in rows) / len(rows) for name in ("before", "chosen", "at_random")]
    say(f"   mean  {mean[0]:10.2%}  {mean[1]:11.2%}  {mean[2]:11.2%}")
    saved = (1 - mean[1]) / (1 - mean[2]) if mean[2] < 1 else 1.0
    say(f"   {STRATEGY} leaves {saved:.0%} of the errors that a random choice of the same size leaves")
