"""What the base class and the pool check, so that no strategy has to."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from strategies import Pool, ScoringStrategy, Selection, Strategy, StrategyError, get_strategy
from tests.support.pools import sample_ids


class Canned(Strategy):
    """Returns what it is told to."""

    summary: ClassVar[str] = "for these tests"
    indices: tuple[int, ...] = (0,)
    values: tuple[float, ...] = (0.0,)

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
        return Selection(np.array(self.indices), np.array(self.values))


class CannedScores(ScoringStrategy):
    summary: ClassVar[str] = "for these tests"
    values: list[float]

    def scores(self, pool: Pool) -> NDArray[np.float64]:
        return np.array(self.values)


def probabilities(*rows: list[float]) -> dict[str, Any]:
    return {"probabilities": np.array(rows, dtype=np.float32)}


@pytest.mark.parametrize("budget", [-1, 1.0, "3", None, True, float("nan")])
def test_a_budget_that_is_no_whole_number_from_zero_is_refused(budget: Any) -> None:
    with pytest.raises(StrategyError, match="budget") as caught:
        Canned().select(Pool(["a"], {}), budget)
    assert caught.value.field == "budget"


def test_a_budget_may_be_a_numpy_integer() -> None:
    assert len(Canned().select(Pool(["a"], {}), np.int32(1))) == 1  # type: ignore[arg-type]  # as arrays give it


@pytest.mark.parametrize("seed", [-1, 2**64, 0.0, "0", None, True])
def test_a_seed_that_does_not_fit_is_refused(seed: Any) -> None:
    with pytest.raises(StrategyError, match="seed") as caught:
        Pool(["a"], {}, seed)
    assert caught.value.field == "seed"


def test_ids_that_repeat_are_named() -> None:
    with pytest.raises(StrategyError, match="'b'") as caught:
        Pool(["a", "b", "c", "b", "b"], {})
    assert (caught.value.field, caught.value.rows) == ("ids", (3, 4))


@pytest.mark.parametrize("ids", [[1, 2], [b"a"], [None], np.arange(3)])
def test_ids_that_are_not_text_are_refused(ids: Any) -> None:
    with pytest.raises(StrategyError, match="text"):
        Pool(ids, {})


def test_ids_may_be_an_array_of_text() -> None:
    assert Pool(np.array(["a", "b"]), {}).ids == ("a", "b")  # type: ignore[arg-type]  # as NPZ and Parquet give them


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("probabilities", np.ones((3, 1), dtype=np.float32), "3 rows for 2 ids"),
        ("probabilities", np.ones(2, dtype=np.float32), "shape"),
        ("probabilities", np.ones((2, 1, 1), dtype=np.float32), "shape"),
        ("probabilities", np.ones((2, 0), dtype=np.float32), "without values"),
        ("embeddings", np.ones((2, 3), dtype=np.int64), "floats"),
        ("embeddings", np.array([["a"], ["b"]]), "floats"),
        ("embeddings", np.array([[1j], [2j]]), "floats"),
        ("embeddings", np.full((2, 3), 1e39), "cannot hold"),
        ("embeddings", np.full((2, 3), np.inf, dtype=np.float16), "Inf"),
        ("labelled_embeddings", np.ones(2, dtype=np.float32), "shape"),
        ("anything", np.array([0.0, np.nan]), "row 1 "),
    ],
)
def test_a_feature_of_wrong_shape_or_kind_is_named(name: str, array: NDArray[Any], complaint: str) -> None:
    with pytest.raises(StrategyError, match=complaint) as caught:
        Pool(["a", "b"], {name: array})
    assert caught.value.field == name


def test_labelled_and_pool_embeddings_must_be_of_one_size() -> None:
    with pytest.raises(StrategyError, match="labelled_embeddings has rows of") as caught:
        Pool(["a"], {"embeddings": np.ones((1, 3)), "labelled_embeddings": np.ones((2, 4))})
    assert caught.value.field == "labelled_embeddings"


def test_empty_labelled_embeddings_may_have_any_width() -> None:
    Pool(["a"], {"embeddings": np.ones((1, 3)), "labelled_embeddings": np.ones((0, 0))})


def test_probabilities_within_the_tolerance_are_taken_as_they_are() -> None:
    pool = Pool(["a", "b"], probabilities([0.5, 0.4995], [0.5, 0.5005]))
    assert get_strategy("LeastConfidence").select(pool, 2).scores.tolist() == [0.5, 1 - float(np.float32(0.5005))]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([0.5, 0.4985], "sum to 1"),
        ([0.5, 0.5015], "sum to 1"),
        ([0.9, 0.8], "sum to 1"),
        ([0.0, 0.0], "sum to 1"),
        ([1.5, -0.5], "negative"),
        ([1.0000001], "sum to 1"),
        ([-0.1], "negative"),
    ],
)
def test_rows_that_are_no_distribution_are_named(row: list[float], complaint: str) -> None:
    good = [1.0] + [0.0] * (len(row) - 1)
    with pytest.raises(StrategyError, match=f"rows 1, 3 .*{complaint}") as caught:
        Pool(sample_ids(4), probabilities(good, row, good, row))
    assert (caught.value.field, caught.value.rows) == ("probabilities", (1, 3))


def test_all_wrong_rows_are_given_and_five_are_named() -> None:
    with pytest.raises(StrategyError, match=r"rows 0, 1, 2, 3, 4, \.\.\. \(30000 in all\)") as caught:
        Pool(sample_ids(30_000), {"probabilities": np.zeros((30_000, 9), dtype=np.float32)})
    assert caught.value.rows == tuple(range(30_000))


def test_a_strategy_cannot_write_to_the_pool() -> None:
    given = np.ones((2, 3), dtype=np.float32)
    pool = Pool(["a", "b"], {"embeddings": given})
    with pytest.raises(ValueError, match="read-only"):
        pool.features["embeddings"][0] = 0
    assert given.flags.writeable
    assert np.shares_memory(pool.features["embeddings"], given)


def test_the_canonical_order_follows_the_ids() -> None:
    ids = sample_ids(30)
    order = Pool(ids, {}, 3).canonical_order()
    backwards = Pool(ids[::-1], {}, 3).canonical_order()
    assert [ids[row] for row in order] == [ids[::-1][row] for row in backwards]
    assert sorted(order.tolist()) == list(range(30))


@pytest.mark.parametrize(
    ("indices", "values", "complaint"),
    [
        ([0], [0.0], "for 2 samples"),
        ([0, 1], [0.0], "for 2 samples"),
        ([0, 1, 2], [0.0, 0.0, 0.0], "for 2 samples"),
        ([1, 1], [0.0, 0.0], "repeat"),
        ([0, 3], [0.0, 0.0], "outside"),
        ([0, -1], [0.0, 0.0], "outside"),
        ([0, 1], [0.0, float("nan")], "row 1"),
        ([2, 1], [float("inf"), 0.0], "row 2"),
    ],
)
def test_a_strategy_that_breaks_its_promises_is_an_error(
    indices: list[int], values: list[float], complaint: str
) -> None:
    with pytest.raises(StrategyError, match=complaint):
        Canned(indices=tuple(indices), values=tuple(values)).select(Pool(sample_ids(3), {}), 2)


@pytest.mark.parametrize(
    ("values", "complaint"), [([1.0], "3 samples"), ([0.0, float("nan"), 0.0], "row 1"), ([[1.0]] * 3, "3 samples")]
)
def test_scores_of_wrong_shape_or_not_finite_are_an_error(values: list[Any], complaint: str) -> None:
    with pytest.raises(StrategyError, match=complaint):
        CannedScores.model_construct(values=values).select(Pool(sample_ids(3), {}), 2)


def test_a_strategy_is_frozen_and_refuses_unknown_parameters() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Canned().indices = (1,)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Canned(typo=1)  # type: ignore[call-arg]  # the point of the test


def test_the_default_generator_comes_from_the_seed() -> None:
    drawn: list[float] = []

    class Drawing(Canned):
        def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> Selection:
            drawn.append(rng.random())
            return super().choose(pool, budget, rng)

    Drawing().select(Pool(["a"], {}, 5), 1)
    Drawing().select(Pool(["a"], {}, 0), 1, np.random.default_rng(5))
    assert drawn[0] == drawn[1]


def test_an_empty_array_of_what_is_labelled_is_as_good_as_none() -> None:
    features = {"embeddings": np.ones((3, 2)), "labelled_embeddings": np.empty((0, 5)), "labelled_classes": np.empty(0)}
    assert Pool(sample_ids(3), features).features.keys() == {"embeddings"}


def test_rows_of_several_lengths_and_numbers_that_are_no_class_are_refused() -> None:
    with pytest.raises(StrategyError, match="embeddings has rows of several lengths"):
        Pool(sample_ids(2), {"embeddings": [[1.0], [1.0, 2.0]]})  # type: ignore[dict-item]
    with pytest.raises(StrategyError, match=r"labelled_classes: row 1 .* no number of a class"):
        Pool(sample_ids(1), {"labelled_classes": np.array([0.0, 1e30])})


@pytest.mark.parametrize("name", [None, 5])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(StrategyError, match="must be text"):
        get_strategy(name)
