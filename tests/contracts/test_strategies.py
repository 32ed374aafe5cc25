"""The eight rules for all (docs/strategies.md), over every registered strategy by itself and over the example.

A strategy is done when it is registered and this passes. A need that is new gets a line in tests/support/pools.py.
"""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Pool, Selection, Strategy, StrategyError, get_strategy, strategy_names, strategy_type
from strategies.registry import load_strategy
from tests.support.pools import Features, features_for, per_sample, reordered, sample_ids

SIZE = 60
DOCS = Path(__file__).resolve().parents[2] / "docs"


def select(strategy: Strategy, features: Features, budget: int, *, size: int = SIZE, seed: int = 0) -> Selection:
    return strategy.select(Pool(sample_ids(size), features, seed), budget, np.random.default_rng(seed))


def same(one: Selection, other: Selection) -> bool:
    return np.array_equal(one.indices, other.indices) and np.array_equal(one.scores, other.scores)


class StrategyContract:
    """What any strategy keeps; subclasses give the fixture."""

    @pytest.fixture
    def strategy(self) -> Strategy:
        raise NotImplementedError

    @pytest.fixture
    def features(self, strategy: Strategy) -> Features:
        return features_for(strategy, SIZE)

    def test_it_works_without_parameters_and_says_what_it_does(self, strategy: Strategy) -> None:
        assert type(strategy)() == strategy
        assert strategy.summary and "\n" not in strategy.summary
        assert strategy.model_json_schema()["additionalProperties"] is False

    @pytest.mark.rule(3)
    @pytest.mark.parametrize("budget", [1, 2, SIZE // 2, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE])
    def test_it_selects_min_of_budget_and_pool_distinct_samples(
        self, strategy: Strategy, features: Features, budget: int
    ) -> None:
        selection = select(strategy, features, budget)
        assert len(set(selection.indices.tolist())) == len(selection) == min(budget, SIZE)
        assert 0 <= selection.indices.min() and selection.indices.max() < SIZE
        assert [selection.indices.dtype.name, selection.scores.dtype.name] == ["int64", "float64"]

    @pytest.mark.rule(1)
    def test_scores_are_finite_and_fall_with_the_rank(self, strategy: Strategy, features: Features) -> None:
        selection = select(strategy, features, SIZE)
        assert np.isfinite(selection.scores).all()
        assert not strategy.scores_fall or (np.diff(selection.scores) <= 0).all()
        assert all(len(values) == SIZE and np.isfinite(values).all() for values in selection.parts.values())

    @pytest.mark.rule(1)
    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_rows_that_are_not_finite_are_named(self, strategy: Strategy, features: Features, wrong: float) -> None:
        for name, values in features.items():
            broken = values.copy()
            broken.reshape(len(broken), -1)[[2, 5], -1] = wrong  # a view, also where rows are single values
            with pytest.raises(StrategyError, match=f"{name}: rows 2, 5 ") as caught:
                select(strategy, features | {name: broken}, 3)
            assert (caught.value.field, caught.value.rows) == (name, (2, 5))

    @pytest.mark.rule(2)
    def test_probabilities_that_do_not_sum_to_one_are_named(self, strategy: Strategy, features: Features) -> None:
        names = features.keys() & {"probabilities", "passes", "committee", "pass_sums"}
        if not names:
            pytest.skip("it needs no probabilities")
        for name in names:
            broken = features[name].copy()
            broken[4] *= 1.002
            with pytest.raises(StrategyError, match="sum to 1") as caught:
                select(strategy, features | {name: broken}, 3)
            assert (caught.value.field, caught.value.rows) == (name, (4,))

    @pytest.mark.rule(7)
    @pytest.mark.parametrize("budget", [0, 1, 10])
    def test_an_empty_pool_gives_an_empty_selection(self, strategy: Strategy, budget: int) -> None:
        assert len(select(strategy, features_for(strategy, 0), budget, size=0)) == 0

    @pytest.mark.rule(7)
    def test_a_budget_of_zero_gives_an_empty_selection(self, strategy: Strategy, features: Features) -> None:
        selection = select(strategy, features, 0)
        assert [selection.indices.dtype.name, selection.scores.dtype.name, len(selection)] == ["int64", "float64", 0]

    @pytest.mark.rule(7)
    def test_a_pool_of_one_is_selected(self, strategy: Strategy) -> None:
        assert select(strategy, features_for(strategy, 1), 1, size=1).indices.tolist() == [0]

    def test_a_feature_that_it_needs_is_asked_for_by_name(self, strategy: Strategy, features: Features) -> None:
        for name in strategy.needs:
            with pytest.raises(StrategyError, match=f"needs {name}") as caught:
                select(strategy, {key: value for key, value in features.items() if key != name}, 1)
            assert caught.value.field == name

    @pytest.mark.rule(7)
    def test_it_works_while_nothing_is_labelled(self, strategy: Strategy, features: Features) -> None:
        none = {name: values for name, values in features.items() if not name.startswith("labelled_")}
        empty = {name: values[:0] for name, values in features.items() if name.startswith("labelled_")}
        assert len(select(strategy, none, 8)) == 8
        assert same(select(strategy, none, 8), select(strategy, none | empty, 8))

    @pytest.mark.rule(7)
    def test_one_class_is_read_as_its_two_sides(self, strategy: Strategy, features: Features) -> None:
        wide = [name for name in ("probabilities", "passes", "committee") if name in features]
        if not wide:
            pytest.skip("it needs no probabilities")
        rng = np.random.default_rng(1)
        one = {name: rng.random((*features[name].shape[:-1], 1), dtype=np.float32) for name in wide}
        two = {name: np.concatenate([1 - column, column], axis=-1) for name, column in one.items()}
        assert len(select(strategy, features | one, 8)) == 8
        assert select(strategy, features | one, 1).indices == select(strategy, features | two, 1).indices

    @pytest.mark.rule(7)
    def test_identical_rows_are_ordered_by_seed_and_id(self, strategy: Strategy, features: Features) -> None:
        same_rows = {name: np.repeat(features[name][:1], SIZE, axis=0) for name in per_sample(features)}
        first, again, other = (select(strategy, features | same_rows, SIZE, seed=seed) for seed in (1, 1, 2))
        assert same(first, again)
        assert not np.array_equal(first.indices, other.indices)
        assert set(first.indices.tolist()) == set(range(SIZE))

    @pytest.mark.rule(4)
    @pytest.mark.parametrize("budget", [1, 7, SIZE])
    @pytest.mark.parametrize("seed", range(4))
    def test_the_order_of_the_pool_changes_nothing(
        self, strategy: Strategy, features: Features, budget: int, seed: int
    ) -> None:
        order: NDArray[np.int64] = np.random.default_rng(seed + 100).permutation(SIZE)
        moved = strategy.select(reordered(sample_ids(SIZE), features, order), budget)
        plain = select(strategy, features, budget)
        assert np.array_equal(order[moved.indices], plain.indices)
        assert np.array_equal(moved.scores, plain.scores)

    @pytest.mark.rule(4)
    def test_the_layout_in_memory_changes_nothing(self, strategy: Strategy, features: Features) -> None:
        column_major = {name: np.asfortranarray(values) for name, values in features.items()}
        strided = {name: np.repeat(values, 2, axis=0)[::2] for name, values in features.items()}
        plain = select(strategy, features, SIZE)
        assert same(plain, select(strategy, column_major, SIZE))
        assert same(plain, select(strategy, strided, SIZE))

    @pytest.mark.rule(4)
    def test_half_precision_and_memory_maps_are_taken_as_they_are(
        self, strategy: Strategy, features: Features, tmp_path: Path
    ) -> None:
        halves = {name: rows.astype(np.float16) if "embeddings" in name else rows for name, rows in features.items()}
        mapped = {}
        for name, rows in halves.items():
            np.save(tmp_path / f"{name}.npy", rows)
            mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        assert same(select(strategy, halves, 8), select(strategy, mapped, 8))

    @pytest.mark.rule(5)
    def test_the_same_seed_selects_the_same(self, strategy: Strategy, features: Features) -> None:
        first = select(strategy, features, 20, seed=5)
        np.random.seed(1)
        random.seed(1)
        assert same(first, select(type(strategy)(), features, 20, seed=5))
        assert same(first, strategy.select(Pool(sample_ids(SIZE), features, 5), 20))  # rng as by default

    @pytest.mark.rule(5)
    def test_the_global_generator_is_left_alone(self, strategy: Strategy, features: Features) -> None:
        before = str(np.random.get_state()), random.getstate()
        select(strategy, features, 20)
        assert (str(np.random.get_state()), random.getstate()) == before

    @pytest.mark.rule(8)
    @pytest.mark.parametrize("is_writeable", [True, False])
    def test_inputs_are_never_changed(self, strategy: Strategy, features: Features, is_writeable: bool) -> None:
        before = {name: values.copy() for name, values in features.items()}
        for values in features.values():
            values.flags.writeable = is_writeable
        select(strategy, features, SIZE // 2)
        assert all(np.array_equal(features[name], before[name]) for name in features)
        assert all(values.flags.writeable is is_writeable for values in features.values())

    @pytest.mark.rule(6)
    def test_memory_holds_neither_pool_by_pool_nor_budget_by_pool(self, strategy: Strategy) -> None:
        # As float32: 1,600 MB and 160 MB. What is cubic by nature says so by a cap on the pool.
        size, budget = min(20_000, getattr(strategy, "max_pool", 20_000)), 2_000
        pool = Pool(sample_ids(size), features_for(strategy, size))
        tracemalloc.start()
        try:
            strategy.select(pool, budget)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 32 * 2**20


class TestEveryRegisteredStrategy(StrategyContract):
    @pytest.fixture(params=strategy_names())
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return get_strategy(request.param)


class TestTheExample(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return load_strategy("examples.my_strategy:RareClassFirst")()


@pytest.mark.parametrize("name", strategy_names())
def test_it_is_described_in_the_docs(name: str) -> None:
    text = (DOCS / "strategies.md").read_text()
    assert f"### {name}\n" in text
    section = text.split(f"### {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
    for word in ("Definition", "Needs", "Cost", "Source"):
        assert f"- **{word}**:" in section
    strategy = strategy_type(name)
    for feature in strategy.needs | strategy.uses:
        assert f"`{feature}`" in section
    for parameter in strategy.model_fields:
        assert f"`{parameter}`" in section
