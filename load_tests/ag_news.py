"""The 7,600 texts of AG News in ../shared/data, and numbers made of them without a label."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).resolve().parents[2] / "shared" / "data" / "ag-news-test.csv.gz"
CLASSES = ("world", "sports", "business", "science")


def read() -> tuple[list[str], NDArray[np.int64]]:
    """The texts (title and description), and the class of each as its place in CLASSES."""
    if not PATH.exists():
        raise SystemExit(f"this needs the real texts of ../shared/data ({PATH.name})")
    with gzip.open(PATH, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [f"{title}. {description}" for _, title, description in rows], np.array([int(row[0]) - 1 for row in rows])


def latent_topics(pool: Sequence[str], test: Sequence[str], size: int = 100) -> tuple[NDArray[np.float32], ...]:
    """(N, size) of each: latent semantic analysis (Deerwester et al. 1990) of TF-IDF, fitted to the pool's words alone.

    Rows have the length 10, so that a network that begins with small weights sees numbers of about 1.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    topics = TruncatedSVD(size, random_state=0)
    rows = topics.fit_transform(words.fit_transform(pool)), topics.transform(words.transform(test))
    return tuple((10 * each / (np.linalg.norm(each, axis=1, keepdims=True) + 1e-9)).astype(np.float32) for each in rows)
