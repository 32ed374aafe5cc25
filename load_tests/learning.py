"""Active learning on digits or texts with every strategy: accuracy by labels, against random, over some seeds.

`python -m load_tests.learning [--on ag-news]` prints the table; `--write` puts it and the plot into the task's page of
docs/. Every strategy of a seed starts from the same random labels, trains the same small network, and buys a batch of
labels in each round.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from alaas_workers.models.deep_fool import boundary_distances
from load_tests.learning_tasks import TASKS, Split, Task
from strategies import Pool, get_strategy, strategy_names

DOCS = Path(__file__).resolve().parents[1] / "docs"
MEMBERS, HIDDEN = 3, 64
Rows = NDArray[np.float32]


class Curve(NamedTuple):
    """`accuracies` (rounds + 1) of one strategy and seed; the first is that of the labels all start with."""

    strategy: str
    seed: int
    accuracies: list[float]


def train(rows: torch.Tensor, classes: torch.Tensor, count: int, seed: int, epochs: int) -> nn.Sequential:
    """A network with one hidden layer and dropout, which tells `count` classes apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(rows.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, count))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-4)
        for _ in range(epochs):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows), classes).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


@torch.no_grad()
def probabilities(model: nn.Module, images: torch.Tensor) -> Rows:
    return np.asarray(torch.softmax(model(images), 1).numpy())


@torch.no_grad()
def dropout_passes(model: nn.Sequential, images: torch.Tensor, seed: int, count: int = 20) -> Rows:
    """(N, count, C) probabilities, each pass with one mask for all images."""
    generator = torch.Generator().manual_seed(seed)
    hidden = model[1](model[0](images))
    keep = (torch.rand(count, 1, HIDDEN, generator=generator) > 0.3).float() / 0.7
    return np.asarray(torch.softmax(model[3](hidden * keep), 2).permute(1, 0, 2).numpy())


@torch.no_grad()
def embeddings(model: nn.Sequential, images: torch.Tensor) -> Rows:
    return np.asarray(model[1](model[0](images)).numpy())


def features(
    names: frozenset[str], models: Sequence[nn.Sequential], data: Split, left: Any, taken: Any, seed: int
) -> dict[str, Rows]:
    """What a strategy asks for, of the images `left` in the pool and of those `taken`."""
    model, images = models[0], data.pool[left]
    make: dict[str, Callable[[], Rows]] = {
        "probabilities": lambda: probabilities(model, images),
        "embeddings": lambda: embeddings(model, images),
        "passes": lambda: dropout_passes(model, images, seed),
        "pass_sums": lambda: dropout_passes(model, images, seed),
        "committee": lambda: np.stack([probabilities(each, images) for each in models], axis=1),
        "boundary_distances": lambda: boundary_distances(model, images, lambda: None).numpy(),
        "labelled_embeddings": lambda: embeddings(model, data.pool[taken]),
        "labelled_classes": lambda: data.pool_classes[taken].numpy().astype(np.float32),
    }
    return {("passes" if name == "pass_sums" else name): make[name]() for name in names}


def learn(name: str, seed: int, task: Task, options: argparse.Namespace) -> Curve:
    data = task.split(seed)
    count = int(data.pool_classes.max()) + 1
    rng = np.random.default_rng([seed, 1])
    taken = rng.permutation(len(data.pool))[: options.start].tolist()
    strategy = get_strategy(name)
    accuracies = []
    for number in range(options.rounds + 1):
        members = MEMBERS if "committee" in strategy.needs else 1
        models = [
            train(data.pool[taken], data.pool_classes[taken], count, 1000 * seed + 10 * number + member, options.epochs)
            for member in range(members)
        ]
        hits = probabilities(models[0], data.test).argmax(1) == data.test_classes.numpy()
        accuracies.append(float(hits.mean()))
        left = np.setdiff1d(np.arange(len(data.pool)), taken)
        arrays = features(strategy.needs | strategy.uses, models, data, left, taken, seed)
        pool = Pool([f"sample-{index:04d}" for index in left], arrays, seed=seed * 100 + number)
        taken += left[strategy.select(pool, options.budget).indices].tolist()
    return Curve(name, seed, accuracies)


# What is shown.


def mean_curve(curves: list[Curve], name: str) -> NDArray[np.float64]:
    return np.asarray(np.mean([curve.accuracies for curve in curves if curve.strategy == name], axis=0))


def gains(curves: list[Curve], name: str) -> list[float]:
    """By seed: how much higher the whole curve lies than that of random, in points; the start is common to both."""
    random = {curve.seed: curve.accuracies for curve in curves if curve.strategy == "RandomSampling"}
    own = [curve for curve in curves if curve.strategy == name]
    return [100 * float(np.mean(np.subtract(curve.accuracies, random[curve.seed])[1:])) for curve in own]


def table(curves: list[Curve], options: argparse.Namespace) -> str:
    shown = [step for step in range(options.rounds + 1) if step % 2 == 0]
    labels = [f"{options.start + options.budget * step}" for step in shown]
    lines = ["| strategy | " + " | ".join(labels) + " | points above random |", "|---|" + "---|" * (len(shown) + 1)]
    names = sorted({curve.strategy for curve in curves}, key=lambda name: -statistics.mean(gains(curves, name)))
    for name in names:
        cells = [f"{100 * mean_curve(curves, name)[step]:.1f}" for step in shown]
        above = gains(curves, name)
        spread = statistics.stdev(above) / len(above) ** 0.5 if len(above) > 1 else 0.0
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {statistics.mean(above):+.2f} ± {spread:.2f} |")
    return "\n".join(lines)


def plot(curves: list[Curve], options: argparse.Namespace, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "alaas"  # the same file for the same figures
    from matplotlib import pyplot

    names = sorted({curve.strategy for curve in curves} - {"RandomSampling"})
    columns = 4
    figure, axes = pyplot.subplots(
        -(-len(names) // columns), columns, figsize=(12, 2.2 * -(-len(names) // columns)), sharex=True, sharey=True
    )
    labels = [options.start + options.budget * step for step in range(options.rounds + 1)]
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        axis.set_visible(True)
        axis.plot(labels, 100 * mean_curve(curves, "RandomSampling"), color="0.6", label="random")
        axis.plot(labels, 100 * mean_curve(curves, name), color="tab:blue")
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
    figure.supxlabel("labels")
    figure.supylabel("accuracy in %, blue; grey: random")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def page(curves: list[Curve], task: Task, options: argparse.Namespace) -> str:
    which = "" if task is TASKS["digits"] else f" --on {options.on}"
    test = len(task.split(0).test)
    kind = task.page.partition("-")[2]  # "texts", "sounds"
    return f"""# Active learning that works{f": {kind}" if kind else ""}

Accuracy in % on {test:,} held-out {task.samples} by the number of labels, mean of {options.seeds} seeds, for
every strategy with its defaults. The strategies of a seed start from the same {options.start} random labels and buy
{options.budget} in each round; a network with one hidden layer of {HIDDEN} is trained anew each time. The last column
is how far the whole curve lies above that of random, in points, with its standard error over the seeds.
`python -m load_tests.learning{which} --write` makes this page.

{table(curves, options)}

![Accuracy by labels for each strategy, against random]({task.page}.svg)

{task.closing}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", default="digits", choices=TASKS, help="what is learnt")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--start", type=int, default=20, help="labels to begin with")
    parser.add_argument("--budget", type=int, default=20, help="labels bought in each round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--only", nargs="+", choices=strategy_names(), metavar="STRATEGY")
    parser.add_argument("--write", action="store_true", help="write the task's page and plot of docs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[options.on]
    names = sorted({*(options.only or task.strategies()), "RandomSampling"})
    jobs = [(name, seed) for seed in range(options.seeds) for name in names]
    curves = [learn(name, seed, task, options) for name, seed in tqdm(jobs, unit="curve")]
    print(table(curves, options))
    if options.write:
        plot(curves, options, DOCS / f"{task.page}.svg")
        (DOCS / f"{task.page}.md").write_text(page(curves, task, options))


if __name__ == "__main__":
    main()
