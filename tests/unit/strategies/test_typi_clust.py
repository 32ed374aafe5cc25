"""TypiClust: dense samples of clusters without labels, small clusters last, no sample twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, get_strategy, typi_clust
from strategies.clustering import centred, k_means, nearest_centres
from strategies.typi_clust import neighbour_distances
from tests.support.pools import embeddings, sample_ids

Rows = NDArray[Any]


def select(rows: Rows, budget: int, labelled: Rows | None = None, seed: int = 0, **parameters: Any) -> Selection:
    features = {"embeddings": rows} | ({} if labelled is None else {"labelled_embeddings": labelled})
    return get_strategy("TypiClust", parameters).select(Pool(sample_ids(len(rows)), features, seed), budget)


def on_a_line(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)[:, None]


def blobs(*sizes: int) -> Rows:
    middles: Rows = np.repeat(1000 * np.arange(len(sizes)), sizes)[:, None]
    return (middles + np.random.default_rng(0).normal(size=(sum(sizes), 2))).astype(np.float32)


@pytest.mark.shows("TypiClust", "the densest point worked out by hand")
def test_the_sample_nearest_to_its_neighbours_is_the_most_typical() -> None:
    # One cluster of 8, so 4 neighbours: from 12 they are at 0.5, 1, 1.5 and 2; from 12.5 the fourth is at 2.5.
    selection = select(on_a_line(0, 5, 10, 11, 12, 12.5, 13.5, 20), 1)
    assert selection.indices.tolist() == [4]
    assert selection.scores.tolist() == pytest.approx([1 / (1 + 1.25)])
    assert {name: values.tolist() for name, values in selection.parts.items()} == {
        "cluster_size": [8.0],
        "labelled_in_cluster": [0.0],
    }


@pytest.mark.shows("TypiClust", "the mean distance to the nearest neighbours, as all distances at hand give it")
@pytest.mark.parametrize("values", [37, 2**20])
def test_the_neighbour_distance_is_that_of_all_distances(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    monkeypatch.setattr(typi_clust, "_BLOCK_VALUES", values)
    rng = np.random.default_rng(0)
    for count in (1, 3, 29):
        points = rng.normal(size=(30, 4)).astype(np.float32)
        distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
        expected = np.sort(distances, axis=1)[:, 1 : count + 1].mean(axis=1)
        assert neighbour_distances(points, count, rng) == pytest.approx(expected, abs=1e-12)


def plain_choices(points: Rows, clusters: Rows, pool_size: int, budget: int) -> list[int]:
    """The paper's steps one by one (section 3.2), with all distances at hand; pool first in `points`, then labelled."""
    labelled = [place >= pool_size for place in range(len(points))]
    chosen: list[int] = []
    for _ in range(budget):
        best: tuple[bool, int, int, int] | None = None
        for number in range(int(clusters.max()) + 1):
            members = [place for place in range(len(points)) if clusters[place] == number]
            open_ones = [place for place in members if not labelled[place]]
            if open_ones:
                key = (len(members) <= 5, sum(labelled[place] for place in members), -len(members), number)
                best = key if best is None else min(best, key)
        assert best is not None
        members = [place for place in range(len(points)) if clusters[place] == best[3]]
        count = min(20, max(1, len(members) // 2))
        means = {}
        for place in members:
            others = sorted(float(np.linalg.norm(points[place] - points[other])) for other in members if other != place)
            means[place] = np.mean(others[:count]) if others else np.inf
        choice = min((place for place in members if not labelled[place]), key=lambda place: (means[place], place))
        labelled[choice] = True
        chosen.append(choice)
    return chosen


@pytest.mark.shows("TypiClust", "the paper's steps one by one with all distances at hand, on 30 random problems")
def test_the_choices_are_those_of_the_papers_steps_one_by_one() -> None:
    rng = np.random.default_rng(5)
    for problem in range(30):
        rows = rng.normal(size=(60, 3)).astype(np.float32)
        labelled = rng.normal(size=(int(rng.integers(0, 8)), 3)).astype(np.float32)
        budget = int(rng.integers(1, 20))
        pool = Pool(sample_ids(60), {"embeddings": rows, "labelled_embeddings": labelled}, problem)
        order = pool.canonical_order()
        points = centred(rows, order, labelled)
        count = min(len(labelled) + budget, 500)
        clusters = nearest_centres(points, k_means(points, count, np.random.default_rng(problem)))
        expected = order[plain_choices(points.astype(np.float64), clusters, 60, budget)]
        assert get_strategy("TypiClust").select(pool, budget).indices.tolist() == expected.tolist()


def test_a_duplicate_is_a_neighbour_at_distance_0() -> None:
    points = np.repeat(np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32), 4, axis=0)
    assert neighbour_distances(points, 3, np.random.default_rng(0)).tolist() == [0.0] * 20


def test_in_a_large_cluster_neighbours_are_looked_for_among_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typi_clust, "REFERENCE", 50)
    points = np.random.default_rng(2).normal(size=(400, 2)).astype(np.float32)
    means = neighbour_distances(points, 5, np.random.default_rng(0))
    assert np.isfinite(means).all() and (means > 0).all()
    assert np.linalg.norm(points[means.argmin()]) < 1.5 < np.linalg.norm(points[means.argmax()])


@pytest.mark.shows("TypiClust", "each blob without labels gives one, the largest first")
def test_the_largest_cluster_without_labels_goes_first() -> None:
    rows = blobs(10, 30, 20)
    selection = select(rows, 3)
    assert np.repeat([0, 1, 2], [10, 30, 20])[selection.indices].tolist() == [1, 2, 0]


@pytest.mark.shows("TypiClust", "clusters with fewest labels come first, and a choice counts as one")
def test_clusters_with_labels_come_after_those_without() -> None:
    rows = blobs(10, 30, 20)
    labelled = rows[[10, 11, 40]] + np.float32(0.01)
    selection = select(rows, 6, labelled, max_clusters=3)
    # Labels 0, 2 and 1; sizes 10, 32 and 21 with them.
    assert np.repeat([0, 1, 2], [10, 30, 20])[selection.indices].tolist() == [0, 2, 0, 1, 2, 0]
    assert selection.parts["labelled_in_cluster"].tolist() == [0, 1, 1, 2, 2, 2]
    assert selection.parts["cluster_size"].tolist() == [10, 21, 10, 32, 21, 10]


@pytest.mark.shows("TypiClust", "clusters of 5 or fewer come after all others have given all they have")
def test_small_clusters_come_last() -> None:
    selection = select(blobs(5, 6, 4, 12), 27, max_clusters=4)
    numbers = np.repeat([0, 1, 2, 3], [5, 6, 4, 12])[selection.indices].tolist()
    assert numbers[:18] == [3, 1] * 6 + [3] * 6
    assert numbers[18:] == [0, 2] * 4 + [0]
    assert len(set(selection.indices.tolist())) == 27


def test_a_lone_sample_scores_0() -> None:
    selection = select(np.concatenate([blobs(8), [[5000, 5000]]]).astype(np.float32), 9, max_clusters=2)
    assert (selection.indices[-1], selection.scores[-1]) == (8, 0.0)


def test_there_is_a_cluster_for_each_label_and_each_sample_of_the_budget_up_to_a_limit() -> None:
    rows = blobs(*[10] * 9)
    assert len(set((select(rows, 6, rows[:30:10]).indices // 10).tolist())) == 6
    assert len(set((select(rows, 6, max_clusters=2).indices // 10).tolist())) >= 2
    assert get_strategy("TypiClust").model_dump() == {"max_clusters": 500, "neighbours": 20}


@pytest.mark.shows("TypiClust", "the whole of a pool of duplicates and near-duplicates, nothing twice")
def test_the_whole_pool_is_chosen_without_repeats_whatever_its_order() -> None:
    rows, ids = embeddings(np.random.default_rng(3), 150), sample_ids(150)
    labelled = rows[:20]
    plain = select(rows, 150, labelled, max_clusters=30)
    assert sorted(plain.indices.tolist()) == list(range(150))
    order = np.random.default_rng(4).permutation(150)
    features = {"embeddings": rows[order], "labelled_embeddings": labelled[::-1]}
    moved = get_strategy("TypiClust", {"max_clusters": 30}).select(Pool([ids[row] for row in order], features), 150)
    assert order[moved.indices].tolist() == plain.indices.tolist()
    assert moved.scores.tolist() == plain.scores.tolist()
