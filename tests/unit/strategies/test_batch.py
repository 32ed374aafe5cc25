"""Batches under a policy: against a naive walk, against the rules themselves, and with every strategy of the zoo."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import (
    Batch,
    BatchPolicy,
    Pool,
    Selection,
    Strategy,
    StrategyError,
    get_strategy,
    select_batch,
    strategy_names,
)
from strategies import batch as batches
from strategies.distances import squared_distances
from strategies.rules import predicted_classes
from tests.support.pools import FEATURES, Features, features_for, per_sample, reordered, sample_ids

SIZE = 60
Rows = NDArray[Any]


def full_features(strategy: Strategy, size: int = SIZE, seed: int = 0) -> Features:
    """What the strategy looks at, and what policies look at."""
    rng = np.random.default_rng([seed, size, 1])
    mine = {name: FEATURES[name](rng, size) for name in ("probabilities", "embeddings", "labelled_embeddings")}
    return mine | features_for(strategy, size, seed=seed)


def sources_of(size: int) -> list[str]:
    return [f"folder-{number % 7}" for number in range(size)]


def on_a_line(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)[:, None]


def of_classes(*classes: int, sure: float = 0.9) -> Rows:
    """Rows that predict `classes` of three, the later the less sure."""
    rows = np.empty((len(classes), 3), dtype=np.float32)
    for place, number in enumerate(classes):
        largest = sure - 0.02 * place
        rows[place] = (1 - largest) / 2
        rows[place, number] = largest
    return rows


def naive_walk(strategy: Strategy, pool: Pool, budget: int, policy: BatchPolicy, sources: list[str]) -> list[int]:
    """Down the whole ranking, looking at each sample alone."""
    rows = pool.features["embeddings"]
    points = list(pool.features["labelled_embeddings"])
    classes = predicted_classes(pool.features["probabilities"]).tolist()
    chosen: list[int] = []
    for index in strategy.select(pool, len(pool)).indices.tolist():
        squares = [float(squared_distances(rows[index : index + 1], point)[0]) for point in points]
        is_near = policy.min_distance is not None and min(squares, default=np.inf) < policy.min_distance**2
        of_class = sum(classes[other] == classes[index] for other in chosen)
        of_source = sum(sources[other] == sources[index] for other in chosen)
        is_full = of_class >= (policy.max_per_class or SIZE) or of_source >= (policy.max_per_source or SIZE)
        if len(chosen) < budget and not is_near and not is_full and pool.ids[index] not in policy.exclude:
            chosen.append(index)
            points.append(rows[index])
    return chosen


def assert_rules_are_kept(batch: Batch, pool: Pool, policy: BatchPolicy, sources: list[str]) -> None:
    """By all but the random draws, which may break rules among themselves."""
    by_choice = [int(i) for i, drawn in zip(batch.indices, batch.drawn, strict=True) if drawn != "random"]
    assert len(set(batch.indices.tolist())) == len(batch)
    assert not {pool.ids[index] for index in batch.indices} & set(policy.exclude)
    if policy.max_per_class is not None:
        classes = predicted_classes(pool.features["probabilities"])
        drawn = Counter(classes[batch.indices].tolist())
        assert all(drawn[number] <= policy.max_per_class for number in set(classes[by_choice].tolist()))
    if policy.max_per_source is not None:
        taken = Counter(sources[index] for index in batch.indices)
        assert all(taken[sources[index]] <= policy.max_per_source for index in by_choice)
    if policy.min_distance is not None:
        rows = pool.features["embeddings"]
        points = [*pool.features["labelled_embeddings"], *rows[batch.indices]]
        for index in by_choice:
            squares = [float(squared_distances(rows[index : index + 1], point)[0]) for point in points]
            assert sum(square < policy.min_distance**2 for square in squares) == 1  # itself


def same(one: Selection, other: Selection) -> bool:
    return np.array_equal(one.indices, other.indices) and np.array_equal(one.scores, other.scores)


POLICIES = {
    "distance": BatchPolicy(min_distance=4.0),
    "classes": BatchPolicy(max_per_class=3),
    "sources": BatchPolicy(max_per_source=2),
    "excluded": BatchPolicy(exclude=tuple(sample_ids(20))),
    "random": BatchPolicy(random_share=0.4),
    "all": BatchPolicy(
        min_distance=3.0, max_per_class=8, max_per_source=3, random_share=0.2, exclude=("sample-1", "sample-5")
    ),
}


@pytest.mark.parametrize("name", strategy_names())
def test_no_rules_change_nothing(name: str) -> None:
    strategy = get_strategy(name)
    pool = Pool(sample_ids(SIZE), features_for(strategy, SIZE), 3)
    batch = select_batch(strategy, pool, 12)
    assert same(batch, strategy.select(pool, 12))
    assert batch.drawn == ("strategy",) * 12
    assert batch.warnings == ()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_keeps_the_rules(name: str, policy: str) -> None:
    strategy, rules = get_strategy(name), POLICIES[policy]
    pool = Pool(sample_ids(SIZE), full_features(strategy), 1)
    batch = select_batch(strategy, pool, 15, rules, sources_of(SIZE))
    assert_rules_are_kept(batch, pool, rules, sources_of(SIZE))
    assert len(batch) == 15 or batch.warnings
    assert np.isfinite(batch.scores).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", strategy_names())
def test_the_order_of_the_pool_changes_nothing(name: str, policy: str) -> None:
    strategy, rules = get_strategy(name), POLICIES[policy]
    features, sources = full_features(strategy), sources_of(SIZE)
    order = np.random.default_rng(5).permutation(SIZE)
    plain = select_batch(strategy, Pool(sample_ids(SIZE), features), 15, rules, sources)
    moved_pool = reordered(sample_ids(SIZE), features, order)
    moved = select_batch(strategy, moved_pool, 15, rules, [sources[row] for row in order])
    assert np.array_equal(order[moved.indices], plain.indices)
    assert np.array_equal(moved.scores, plain.scores)
    assert (moved.drawn, moved.warnings) == (plain.drawn, plain.warnings)


@pytest.mark.parametrize("budget", [1, 10, SIZE, 2 * SIZE])
@pytest.mark.parametrize("policy", ["distance", "classes", "sources", "excluded"])
@pytest.mark.parametrize("name", ["EntropySampling", "RandomSampling"])
def test_a_ranking_is_walked_sample_by_sample(name: str, policy: str, budget: int) -> None:
    strategy, rules = get_strategy(name), POLICIES[policy]
    pool = Pool(sample_ids(SIZE), full_features(strategy), 2)
    batch = select_batch(strategy, pool, budget, rules, sources_of(SIZE))
    assert batch.indices.tolist() == naive_walk(strategy, pool, budget, rules, sources_of(SIZE))


def test_a_batch_of_many_pieces_is_walked_as_one() -> None:
    strategy, size = get_strategy("MarginConfidence"), 3000
    pool = Pool(sample_ids(size), full_features(strategy, size), 2)
    rules = BatchPolicy(min_distance=2.0)
    rows = pool.features["embeddings"].astype(np.float64)
    points, chosen = list(pool.features["labelled_embeddings"].astype(np.float64)), list[int]()
    for index in strategy.select(pool, size).indices.tolist():
        if len(chosen) < 700 and min(np.square(np.array(points) - rows[index]).sum(axis=1)) >= 4.0:
            chosen.append(index)
            points.append(rows[index])
    assert select_batch(strategy, pool, 700, rules).indices.tolist() == chosen


def test_a_quota_of_a_class_lets_the_next_of_another_come() -> None:
    # Least sure first: 5, 4, 3, 2, 1, 0 of the classes 1, 0, 0, 0, 2, 0.
    pool = Pool(list("abcdef"), {"probabilities": of_classes(0, 2, 0, 0, 0, 1)})
    batch = select_batch(get_strategy("LeastConfidence"), pool, 4, BatchPolicy(max_per_class=1))
    assert batch.indices.tolist() == [5, 4, 1]
    assert batch.warnings == ("the policy left 3 samples instead of 4: max_per_class closed 3",)


def test_one_column_predicts_two_classes() -> None:
    pool = Pool(list("abcd"), {"probabilities": np.array([[0.9], [0.8], [0.3], [0.5]], dtype=np.float32)})
    batch = select_batch(get_strategy("LeastConfidence"), pool, 4, BatchPolicy(max_per_class=1))
    assert batch.indices.tolist() == [3, 1]


def test_k_center_goes_on_from_what_was_taken_before_a_quota_filled() -> None:
    # Nothing labelled, the mean is 5: 4, 10, 0 and 7 are proposed. 4 and 10 fill the quota of "x", so 0 is refused and
    # 7 taken; from these three 1 is 3 away.
    pool = Pool(list("abcdef"), {"embeddings": on_a_line(0, 1, 4, 7, 8, 10)})
    batch = select_batch(
        get_strategy("KCenterSampling"), pool, 4, BatchPolicy(max_per_source=2), ["x", "y", "x", "y", "x", "x"]
    )
    assert batch.indices.tolist() == [2, 5, 3, 1]
    assert batch.scores.tolist() == [6.0, 6.0, 3.0, 3.0]


def test_nothing_is_chosen_near_what_is_labelled_or_chosen() -> None:
    features = {"embeddings": on_a_line(0, 1, 10, 11, 20), "labelled_embeddings": on_a_line(19)}
    pool = Pool(list("abcde"), features)
    batch = select_batch(get_strategy("RandomSampling"), pool, 5, BatchPolicy(min_distance=2.0))
    assert len(batch) == 2
    assert sorted(batch.indices // 2) == [0, 1]
    assert batch.warnings == ("the policy left 2 samples instead of 5: min_distance closed 3",)


def test_a_distance_that_is_just_kept_is_kept() -> None:
    pool = Pool(list("abc"), {"embeddings": np.array([[0, 0], [3, 4], [6, 8]], dtype=np.float32)})
    assert len(select_batch(get_strategy("RandomSampling"), pool, 3, BatchPolicy(min_distance=5.0))) == 3
    assert len(select_batch(get_strategy("RandomSampling"), pool, 3, BatchPolicy(min_distance=5.0001))) < 3


def test_the_random_share_does_not_depend_on_the_strategy() -> None:
    features = full_features(get_strategy("EntropySampling")) | full_features(get_strategy("KCenterSampling"))
    pool = Pool(sample_ids(SIZE), features, 4)
    policy = BatchPolicy(random_share=0.5, max_per_class=3, min_distance=1.0)
    drawn = []
    for name in ("EntropySampling", "KCenterSampling", "RandomSampling"):
        batch = select_batch(get_strategy(name), pool, 20, policy)
        drawn.append([int(i) for i, kind in zip(batch.indices, batch.drawn, strict=True) if kind == "random"])
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(drawn[0]) == 10


def test_random_draws_rank_last_and_their_scores_are_their_numbers() -> None:
    pool = Pool(sample_ids(SIZE), features_for(get_strategy("EntropySampling"), SIZE))
    batch = select_batch(get_strategy("EntropySampling"), pool, 20, BatchPolicy(random_share=0.25))
    assert batch.drawn == ("strategy",) * 15 + ("random",) * 5
    assert (np.diff(batch.scores[15:]) < 0).all()
    assert (batch.scores[15:] < 1).all() and (batch.scores[15:] >= 0).all()


@pytest.mark.parametrize(
    ("share", "budget", "count"), [(0.1, 4, 0), (0.1, 6, 1), (0.5, 5, 2), (1.0, 7, 7), (0.0, 7, 0)]
)
def test_the_share_of_random_draws_is_rounded(share: float, budget: int, count: int) -> None:
    pool = Pool(sample_ids(SIZE), {})
    batch = select_batch(get_strategy("RandomSampling"), pool, budget, BatchPolicy(random_share=share))
    assert batch.drawn.count("random") == count
    assert len(batch) == budget


def test_random_draws_are_uniform() -> None:
    strategy = get_strategy("LeastConfidence")
    features = features_for(strategy, 10)
    counts = np.zeros(10)
    for seed in range(600):
        batch = select_batch(strategy, Pool(sample_ids(10), features, seed), 4, BatchPolicy(random_share=0.5))
        counts[batch.indices[2:]] += 1
    expected = 600 * 2 / 10
    assert np.square(counts - expected).sum() / expected < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001


def test_the_excluded_are_never_drawn() -> None:
    pool = Pool(sample_ids(10), {})
    policy = BatchPolicy(random_share=1.0, exclude=(*sample_ids(7), "unknown"))
    batch = select_batch(get_strategy("RandomSampling"), pool, 10, policy)
    assert sorted(batch.indices.tolist()) == [7, 8, 9]
    assert batch.warnings == ("the policy left 3 samples instead of 10: exclude closed 7",)


def test_parts_come_with_what_the_strategy_chose() -> None:
    features = {"probabilities": of_classes(0, 1, 2, 0)}
    batch = select_batch(
        get_strategy("LeastConfidence"), Pool(list("abcd"), features), 4, BatchPolicy(random_share=0.5)
    )
    assert set(batch.parts) == {"p1", "p2", "predicted_class"}
    assert np.isnan(batch.parts["p1"]).tolist() == [False, False, True, True]


class OneAtATime(Strategy):
    """Proposes near-copies of one another: samples in the order of their ids."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    summary: ClassVar[str] = "in the order of ids"
    asked: ClassVar[list[int]] = []

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        self.asked.append(budget)
        order = np.argsort([int(name) for name in pool.ids], kind="stable")[:budget]
        return Selection(order, np.zeros(budget))


def test_a_strategy_that_proposes_copies_is_asked_for_more_each_time() -> None:
    rows = np.repeat(np.arange(100, dtype=np.float32) * 10, 20)[:, None]
    pool = Pool([str(number) for number in range(2000)], {"embeddings": rows})
    OneAtATime.asked.clear()
    batch = select_batch(OneAtATime(), pool, 30, BatchPolicy(min_distance=1.0))
    assert batch.indices.tolist() == [20 * number for number in range(30)]
    assert OneAtATime.asked[:4] == [30, 56, 100, 120]
    assert len(OneAtATime.asked) < 10


class Watching(Strategy):
    """Proposes the first ids, and keeps what it was shown."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings"})
    summary: ClassVar[str] = "in the order of ids"
    shown: ClassVar[list[tuple[list[float], list[float]]]] = []

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        labelled = pool.features.get("labelled_embeddings", np.empty((0, 1)))
        self.shown.append((pool.features["embeddings"][:, 0].tolist(), labelled[:, 0].tolist()))
        return Selection(np.argsort(list(pool.ids), kind="stable")[:budget], np.zeros(budget))


class WatchingClasses(Watching):
    uses: ClassVar[frozenset[str]] = frozenset({"labelled_embeddings", "labelled_classes"})
    summary: ClassVar[str] = "in the order of ids, knowing classes"


def shown_to(strategy: Watching) -> list[tuple[list[float], list[float]]]:
    features = {
        "embeddings": on_a_line(0, 1, 10, 11, 20, 21),
        "labelled_embeddings": on_a_line(22),
        "labelled_classes": np.array([1.0], dtype=np.float32),
    }
    Watching.shown.clear()
    select_batch(strategy, Pool(list("abcdef"), features), 2, BatchPolicy(min_distance=1.5))
    return list(Watching.shown)


def test_a_round_shows_only_what_may_be_taken_and_what_was_taken_as_labelled() -> None:
    # 21 is near what is labelled. Of 0 and 1, the first two by id, 0 is taken; then 1 is near it, and 10 is taken.
    assert shown_to(Watching()) == [([0, 1, 10, 11, 20], [22]), ([10, 11, 20], [22, 0])]


def test_what_was_taken_is_not_labelled_for_a_strategy_that_looks_at_classes() -> None:
    assert [labelled for _, labelled in shown_to(WatchingClasses())] == [[22], [22]]


def test_after_the_last_round_the_rest_is_filled_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_ROUNDS", 2)
    rows = np.repeat(np.arange(100, dtype=np.float32) * 10, 20)[:, None]
    pool = Pool([str(number) for number in range(2000)], {"embeddings": rows})
    batch = select_batch(OneAtATime(), pool, 30, BatchPolicy(min_distance=1.0))
    assert len(batch) == 30
    assert batch.drawn == ("strategy",) * 5 + ("filled",) * 25
    assert batch.warnings == ("25 samples came in the order of a hash: 2 rounds of the strategy were not enough",)
    assert len(set((batch.indices // 20).tolist())) == 30


def test_nothing_left_gives_an_empty_batch() -> None:
    pool = Pool(sample_ids(3), {"probabilities": of_classes(0, 1, 2)})
    policy = BatchPolicy(exclude=tuple(sample_ids(3)), random_share=0.5)
    for name in ("LeastConfidence", "RandomSampling"):
        batch = select_batch(get_strategy(name), pool, 2, policy)
        assert (len(batch), len(batch.warnings)) == (0, 1)
    assert len(select_batch(get_strategy("LeastConfidence"), pool, 0, policy)) == 0


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (BatchPolicy(min_distance=1.0), "min_distance"),
        (BatchPolicy(max_per_class=1), "max_per_class"),
        (BatchPolicy(max_per_source=1), "sources"),
    ],
)
def test_what_a_rule_needs_is_asked_for_by_name(policy: BatchPolicy, field: str) -> None:
    with pytest.raises(StrategyError, match=r"needs") as caught:
        select_batch(get_strategy("RandomSampling"), Pool(sample_ids(3), {}), 2, policy)
    assert caught.value.field == field


def test_sources_are_one_for_each_sample() -> None:
    with pytest.raises(StrategyError, match="each of the 3 samples, not 2"):
        select_batch(
            get_strategy("RandomSampling"), Pool(sample_ids(3), {}), 2, BatchPolicy(max_per_source=1), ["a", "b"]
        )


def test_inputs_are_never_changed() -> None:
    strategy = get_strategy("KCenterSampling")
    features = full_features(strategy)
    before = {name: values.copy() for name, values in features.items()}
    select_batch(strategy, Pool(sample_ids(SIZE), features), 15, POLICIES["all"], sources_of(SIZE))
    assert all(np.array_equal(features[name], before[name]) for name in per_sample(features))
