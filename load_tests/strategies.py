"""Time and peak memory of each strategy, beside scikit-activeml and a naive version: `python -m load_tests.strategies`.

Each measure runs in a process of its own, one after the other, with a limit on time and on memory; peak memory is what
the process took beyond interpreter, libraries and the pool's own arrays. `--only` and `--sizes` cut it down.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from strategies import Pool, get_strategy, strategy_names, strategy_type

Array = NDArray[np.float32]
CLASSES, LABELLED, MEMBERS, CENTRES = 10, 100, 5, 200
NAIVE_STEPS = 60  # of the version that recomputes all distances at each step, whose cost grows with the square


class Case(NamedTuple):
    """One measure: `kind` is "ours", "scikit-activeml" or "naive"."""

    kind: str
    strategy: str
    size: int
    budget: int


class Result(NamedTuple):
    seconds: float
    peak_mib: float


# The data, made once for each size.


def make(folder: Path, size: int, width: int) -> None:
    """A mixture of CENTRES Gaussians, and what a linear model makes of it; as .npy files in `folder`."""
    rng = np.random.default_rng(size)
    centres = rng.normal(size=(CENTRES, width)).astype(np.float32)
    head = rng.normal(size=(width, CLASSES)).astype(np.float32) / np.sqrt(width).astype(np.float32)
    embeddings = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float32, (size, width))
    passes = np.lib.format.open_memmap(folder / "passes.npy", "w+", np.float32, (size, MEMBERS, CLASSES))
    for start in range(0, size, 10_000):
        rows = slice(start, min(start + 10_000, size))
        count = rows.stop - rows.start
        noise = rng.normal(scale=0.7, size=(count, width)).astype(np.float32)
        embeddings[rows] = centres[rng.integers(CENTRES, size=count)] + noise
        logits = embeddings[rows] @ head
        passes[rows] = softmax(logits[:, None] + rng.normal(scale=0.5, size=(count, MEMBERS, CLASSES)))
    np.save(folder / "probabilities.npy", passes[:, 0])
    np.save(folder / "labelled_embeddings.npy", centres[:LABELLED] + np.float32(0.1))
    np.save(folder / "labelled_classes.npy", (np.arange(LABELLED) % CLASSES).astype(np.float32))
    np.save(folder / "boundary_distances.npy", rng.random((size, 1)).astype(np.float32))


def softmax(logits: NDArray[Any]) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def load(folder: Path, name: str, size: int) -> Array:
    file = {"committee": "passes", "pass_sums": "passes"}.get(name, name)
    rows: Array = np.load(folder / f"{file}.npy")
    if name == "pass_sums":
        mean = rows.mean(axis=1)
        entropies = -(rows * np.log(np.maximum(rows, 1e-30))).sum(axis=2).mean(axis=1)
        return np.column_stack([mean, entropies]).astype(np.float32)
    return rows if name.startswith("labelled_") else rows[:size]


# What is measured. Each makes its input ready and returns the call that counts.


def ours(case: Case, folder: Path) -> Callable[[], Any]:
    strategy = get_strategy(case.strategy)
    features = {name: load(folder, name, case.size) for name in strategy.needs | strategy.uses}
    pool = Pool([f"{number:08d}" for number in range(case.size)], features)
    return lambda: strategy.select(pool, case.budget)


def theirs(case: Case, folder: Path) -> Callable[[], Any]:
    """scikit-activeml, on the same arrays."""
    from skactiveml import pool as zoo
    from skactiveml.utils import MISSING_LABEL, simple_batch

    methods = {
        "LeastConfidence": "least_confident",
        "MarginConfidence": "margin_sampling",
        "EntropySampling": "entropy",
    }
    if case.strategy in methods:
        rows = load(folder, "probabilities", case.size)
        method = methods[case.strategy]
        return lambda: simple_batch(
            zoo.uncertainty_scores(rows, method=method), batch_size=case.budget, random_state=np.random.RandomState(0)
        )
    embeddings = load(folder, "embeddings", case.size)
    labelled = load(folder, "labelled_embeddings", LABELLED)
    x = np.concatenate([labelled, embeddings])
    y = np.full(len(x), MISSING_LABEL)
    y[: len(labelled)] = load(folder, "labelled_classes", LABELLED)
    if case.strategy == "Badge":
        return lambda: zoo.Badge(random_state=0).query(x, y, _classifier(folder), batch_size=case.budget, fit_clf=False)
    query = {
        "KCenterSampling": zoo.CoreSet,
        "TypiClust": zoo.TypiClust,
        "ProbCover": zoo.ProbCover,
    }[case.strategy](random_state=0)
    return lambda: query.query(x, y, batch_size=case.budget)


THEIRS = (
    "Badge",
    "EntropySampling",
    "KCenterSampling",
    "LeastConfidence",
    "MarginConfidence",
    "ProbCover",
    "TypiClust",
)


def _classifier(folder: Path) -> Any:
    """A fitted classifier whose probabilities are those of the pool."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    rows, classes = load(folder, "labelled_embeddings", LABELLED), load(folder, "labelled_classes", LABELLED)
    return SklearnClassifier(LogisticRegression(max_iter=50), classes=np.arange(CLASSES)).fit(rows, classes)


def naive_one_centre_each_step(case: Case, folder: Path) -> Callable[[], Any]:
    """K-Center by NumPy's own differences from the newest centre to the whole pool, at each step."""
    rows = load(folder, "embeddings", case.size)
    labelled = load(folder, "labelled_embeddings", LABELLED)

    def choose() -> list[int]:
        nearest = np.full(len(rows), np.inf, dtype=np.float32)
        for point in labelled:
            nearest = np.minimum(nearest, ((rows - point) ** 2).sum(axis=1))
        chosen = []
        for _ in range(case.budget):
            chosen.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, ((rows - rows[chosen[-1]]) ** 2).sum(axis=1))
        return chosen

    return choose


def naive_all_distances_each_step(case: Case, folder: Path) -> Callable[[], Any]:
    """K-Center by all distances from the pool to all centres, at each step."""
    from scipy.spatial.distance import cdist

    rows = load(folder, "embeddings", case.size)
    labelled = load(folder, "labelled_embeddings", LABELLED)

    def choose() -> list[int]:
        chosen: list[int] = []
        for _ in range(case.budget):
            centres = np.concatenate([labelled, rows[chosen]])
            nearest = np.concatenate([cdist(block, centres).min(axis=1) for block in np.array_split(rows, 50)])
            chosen.append(int(nearest.argmax()))
        return chosen

    return choose


KINDS = {
    "ours": ours,
    "scikit-activeml": theirs,
    "naive, one centre a step": naive_one_centre_each_step,
    "naive, all distances each step": naive_all_distances_each_step,
}


# How it is measured.


def measure(case: Case, folder: Path) -> Result:
    """In this process, which is used for nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that are only compared with
        call = KINDS[case.kind](case, folder)
        before = _resident_kib()
        _reset_peak()
        started = time.perf_counter()
        call()
        seconds = time.perf_counter() - started
    return Result(seconds, (_peak_kib() - before) / 1024)


def _status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _resident_kib() -> int:
    return _status_kib("VmRSS")


def _peak_kib() -> int:
    return _status_kib("VmHWM")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measured_apart(case: Case, folder: Path, options: argparse.Namespace) -> Result | str:
    """In a process of its own; a text where there is no figure."""
    command = [sys.executable, "-m", "load_tests.strategies", "--one", json.dumps(case), "--folder", str(folder)]
    command += ["--memory-gib", str(options.memory_gib)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit_s)
    except subprocess.TimeoutExpired:
        return f"over {options.limit_s:.0f} s"
    if done.returncode == 0:
        return Result(*json.loads(done.stdout.splitlines()[-1]))
    reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return f"over {options.memory_gib:g} GiB" if "Memory" in reason[0] else reason[0][:60]


def capped(strategy: str, size: int) -> int:
    """The size that a strategy takes by its own default cap."""
    cap = strategy_type(strategy).model_fields.get("max_pool")
    return size if cap is None else min(size, int(cap.default))


def cases(options: argparse.Namespace, size: int) -> Iterator[Case]:
    names = options.only or strategy_names()
    for name in names:
        for budget in options.budgets if size == options.sizes[0] else options.budgets[:1]:
            count = capped(name, size)
            yield Case("ours", name, count, min(budget, count))
            if name in THEIRS and size == options.sizes[0] and budget == options.budgets[0]:
                yield Case("scikit-activeml", name, count, min(budget, count))
    if "KCenterSampling" in names and size == options.sizes[0]:
        for budget in options.budgets:
            yield Case("naive, one centre a step", "KCenterSampling", size, budget)
        yield Case("ours", "KCenterSampling", size, NAIVE_STEPS)
        yield Case("naive, all distances each step", "KCenterSampling", size, NAIVE_STEPS)


def table(results: list[tuple[Case, Result | str]]) -> str:
    lines = ["| strategy | pool | budget | version | seconds | peak MiB |", "|---|---|---|---|---|---|"]
    for case, result in results:
        figures = f"{result.seconds:.2f} | {result.peak_mib:,.0f}" if isinstance(result, Result) else f"{result} | "
        lines.append(f"| {case.strategy} | {case.size:,} | {case.budget:,} | {case.kind} | {figures} |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    results: list[tuple[Case, Result | str]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, size, options.width)
            for case in (bar := tqdm(list(cases(options, size)), desc=f"{size:,} samples", unit="measure")):
                bar.set_postfix_str(f"{case.strategy}, {case.kind}")
                results.append((case, measured_apart(case, folder, options)))
                bar.write(table(results[-1:]).splitlines()[-1])
    print(f"\n{options.width} numbers an embedding, {CLASSES} classes, {LABELLED} samples labelled\n")
    print(table(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    parser.add_argument("--budgets", type=int, nargs="+", default=[1_000, 10_000], help="all of them at the first size")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--only", nargs="+", choices=strategy_names(), metavar="STRATEGY")
    parser.add_argument("--limit-s", type=float, default=300)
    parser.add_argument("--memory-gib", type=float, default=16)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is None:
        run(options)
        return
    limit = int(options.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps(measure(Case(*json.loads(options.one)), options.folder)))


if __name__ == "__main__":
    main()
