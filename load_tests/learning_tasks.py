"""What `load_tests.learning` learns: samples as rows of numbers, with their classes, and what its page says of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from load_tests import ag_news, spoken_digits
from strategies import strategy_names


class Split(NamedTuple):
    """Samples as rows of numbers, with their classes; the pool to label from and the test set."""

    pool: torch.Tensor
    pool_classes: torch.Tensor
    test: torch.Tensor
    test_classes: torch.Tensor


class Task(NamedTuple):
    """`page`: of docs/. `samples`: as its sentences call them. `strategies`: compared unless others are named."""

    split: Callable[[int], Split]
    page: str
    samples: str
    strategies: Callable[[], list[str]]
    closing: str


@lru_cache(maxsize=1)
def digits(seed: int) -> Split:
    """1,297 and 500 images as rows of 64 numbers."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(seed).permutation(len(loaded.data))
    images = torch.tensor(loaded.data[order] / 16, dtype=torch.float32)
    classes = torch.tensor(loaded.target[order])
    return Split(images[500:], classes[500:], images[:500], classes[:500])


@lru_cache(maxsize=1)
def texts(seed: int) -> Split:
    """6,000 and 1,600 texts as rows of 100 numbers."""
    written, classes = ag_news.read()
    order = np.random.default_rng(seed).permutation(len(written))
    shuffled, labels = [written[number] for number in order], torch.tensor(classes[order])
    pool, test = ag_news.latent_topics(shuffled[1600:], shuffled[:1600])
    return Split(torch.tensor(pool), labels[1600:], torch.tensor(test), labels[:1600])


@lru_cache(maxsize=1)
def sounds(seed: int) -> Split:
    """2,500 and 500 spoken digits as rows of 360 numbers."""
    files = spoken_digits.read()
    order = np.random.default_rng(seed).permutation(len(files))
    rows = spoken_digits.rows(list(files.values()))[order]
    classes = torch.tensor([spoken_digits.digit_of(name) for name in files])[order]
    pool = rows[500:]
    standard = torch.tensor((rows - pool.mean(0)) / pool.std(0))
    return Split(standard[500:], classes[500:], standard[:500], classes[:500])


def _fast_ones() -> list[str]:
    """All but those that compare every sample with every other, by a classifier of their own or in a matrix."""
    slow = {"CoreSet", "ExpectedErrorReduction", "InformationDensity", "ProbCover", "QUIRE"}
    other = {"MultiLabelUncertainty", "DetectionUncertainty"}  # which take scores of other kinds
    return [name for name in strategy_names() if name not in slow | other]


def _of_classes() -> list[str]:
    return [name for name in strategy_names() if name not in {"MultiLabelUncertainty", "DetectionUncertainty"}]


_DIGITS = """\
One small data set says that a strategy works, not which one is best for yours: digits are clean, balanced and
easy. The differences at the top are within their errors. [Texts](learning-texts.md) were learnt in the same way.

QUIRE and ExpectedErrorReduction score by a kernel classifier of their own, and not by the network. They compute what
their papers and scikit-activeml do ([conformance](conformance.md)), and on these embeddings that is worse than random.
So is QUIRE when it is asked for one sample at a time: 10.0 ± 3.6 points below random over 60 labels and two seeds
(`python -m load_tests.learning --only QUIRE --budget 1 --rounds 60 --seeds 2`). Take them for comparison.
"""

_TEXTS = """\
A text is 100 numbers here: latent semantic analysis of TF-IDF, fitted to the words of the pool's 6,000 texts,
without a label. So every strategy sees the same texts in the same way, and what differs is what it buys.
[Digits](learning.md) were learnt in the same way, by every strategy there is; here those are left out that compare all
samples with one another.

On such numbers, spreading over the space alone (KCenterSampling, KMeansSampling) is worse than random: uncertainty has
to have its say. What the dropout passes of so small a network disagree on (BatchBALD, BayesianDisagreement) is no help
either.
"""

_SOUNDS = """\
A sound is 360 numbers here: the log-mel spectrogram of its first 0.6 seconds as the fleet's own transform makes it,
four frames averaged to one, without a label. Digits of all six speakers are in the pool and in the test set, so this
tells how fast digits are learnt, and not how well a seventh speaker is understood. [Images](learning.md) and
[texts](learning-texts.md) were learnt in the same way; those strategies are left out that compare all samples with one
another. How sounds are served: [audio](audio.md).
"""

TASKS = {
    "digits": Task(digits, "learning", "digits of scikit-learn", _of_classes, _DIGITS),
    "spoken-digits": Task(sounds, "learning-sounds", "spoken digits of six speakers", _fast_ones, _SOUNDS),
    "ag-news": Task(texts, "learning-texts", "texts of AG News", _fast_ones, _TEXTS),
}
