"""BALD and committees against vectors worked out by hand and against scikit-activeml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strategies import Pool, Selection, StrategyError, get_strategy
from strategies.disagreement import METHODS, Method, consensus_entropy, mean_kl, mutual_information, vote_entropy
from strategies.members import pass_sums
from strategies.ranking import hash_keys
from tests.support.committees import query_of_scikit_activeml, random_members
from tests.support.pools import sample_ids

Array = NDArray[Any]
LN2, LN3 = np.log(2.0), np.log(3.0)

SURE_OPPOSITE = [[1.0, 0.0], [0.0, 1.0]]
EVEN = [[0.5, 0.5], [0.5, 0.5]]
LEANING = [[0.75, 0.25], [0.25, 0.75]]
AGREEING = [[1.0, 0.0], [1.0, 0.0]]


def select(name: str, members: Array, budget: int, *, feature: str, **parameters: Any) -> Selection:
    return get_strategy(name, parameters).select(Pool(sample_ids(len(members)), {feature: members}), budget)


def as_float32(*rows: list[list[float]]) -> Array:
    return np.array(rows, dtype=np.float32)


@pytest.mark.shows("BayesianDisagreement", "two sure but opposite passes come first, doubt that all share last")
def test_sure_but_opposite_passes_come_first_and_doubt_that_all_share_last() -> None:
    members = as_float32(EVEN, LEANING, SURE_OPPOSITE, AGREEING)
    selection = select("BayesianDisagreement", members, 4, feature="passes")
    assert selection.indices[:2].tolist() == [2, 1]
    of_quarter = LN2 - (0.25 * np.log(4) + 0.75 * np.log(4 / 3))
    assert selection.scores.tolist() == pytest.approx([LN2, of_quarter, 0, 0], abs=1e-15)


@pytest.mark.shows("BayesianDisagreement", "passes that all agree score exactly 0, in float64 and float32")
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_passes_that_all_agree_score_exactly_zero(kind: type[np.floating[Any]]) -> None:
    rows = np.random.default_rng(3).dirichlet(np.ones(6), size=200)
    sums = pass_sums(np.repeat(rows[:, None], 7, axis=1)).astype(kind)
    selection = get_strategy("BayesianDisagreement").select(Pool(sample_ids(200), {"pass_sums": sums}), 200)
    assert not selection.scores.any()


@pytest.mark.shows("BayesianDisagreement", "vectors worked out by hand: the two entropies")
def test_the_parts_of_bald_are_the_two_entropies() -> None:
    parts = select("BayesianDisagreement", as_float32(SURE_OPPOSITE, EVEN), 2, feature="passes").parts
    assert parts["entropy_of_mean"].tolist() == pytest.approx([LN2, LN2], abs=1e-15)
    assert parts["mean_entropy"].tolist() == pytest.approx([0, LN2], abs=1e-15)


def test_rounding_of_kept_sums_leaves_no_score_below_zero() -> None:
    agreeing = np.repeat(random_members(np.random.default_rng(0), 1000, 1, 10), 5, axis=1)
    scores = mutual_information(pass_sums(agreeing).astype(np.float32).astype(np.float64))
    assert (scores >= 0).all() and scores.max() < 1e-6
    assert mean_kl(agreeing).tolist() == [0.0] * 1000


def test_sums_of_one_column_are_read_as_two_sides() -> None:
    two = pass_sums(as_float32(SURE_OPPOSITE, LEANING).astype(np.float64))
    assert mutual_information(two[:, 1:]).tolist() == mutual_information(two).tolist()


@pytest.mark.parametrize("factor", [2.0, 1 / LN2])
def test_sums_over_passes_and_entropies_in_bits_are_refused(factor: float) -> None:
    sums = pass_sums(as_float32(LEANING, EVEN, AGREEING).astype(np.float64)) * [1, 1, factor]
    with pytest.raises(StrategyError, match=r"row.* 1 .*mean entropy above .*nats") as caught:
        get_strategy("BayesianDisagreement").select(Pool(sample_ids(3), {"pass_sums": sums}), 1)
    assert caught.value.field == "pass_sums" and 1 in caught.value.rows


def test_sums_kept_in_float16_are_taken() -> None:
    members = random_members(np.random.default_rng(1), 300, 8, 100, spread=0.01)
    pool = Pool(sample_ids(300), {"pass_sums": pass_sums(members).astype(np.float16)})
    assert len(get_strategy("BayesianDisagreement").select(pool, 300)) == 300


@pytest.mark.shows("QueryByCommittee", "vectors worked out by hand")
@pytest.mark.parametrize(
    ("opinions", "votes", "consensus", "kl"),
    [
        (SURE_OPPOSITE, LN2, LN2, LN2),
        (AGREEING, 0, 0, 0),
        (LEANING, LN2, LN2, LN2 - (0.25 * np.log(4) + 0.75 * np.log(4 / 3))),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], LN3, LN3, LN3),
        ([[0, 0, 1], [0, 1, 0], [0, 0, 1]], LN3 - 2 / 3 * LN2, LN3 - 2 / 3 * LN2, LN3 - 2 / 3 * LN2),
        ([[1, 0, 0, 0], [0.5, 0, 0, 0.5]], 0, 0.75 * np.log(4 / 3) + 0.25 * np.log(4), None),
        ([[1.0], [0.0]], LN2, LN2, LN2),  # one column: [1 - p, p]
        ([[0.5], [0.25]], 0, 0.375 * np.log(8 / 3) + 0.625 * np.log(8 / 5), None),
    ],
)
def test_measures_are_those_worked_out_by_hand(
    opinions: list[list[float]], votes: float, consensus: float, kl: float | None
) -> None:
    members = np.array([opinions], dtype=np.float64)
    assert vote_entropy(members)[0] == pytest.approx(votes, abs=1e-15)
    assert consensus_entropy(members)[0] == pytest.approx(consensus, abs=1e-15)
    assert kl is None or mean_kl(members)[0] == pytest.approx(kl, abs=1e-15)


def test_a_model_votes_for_the_first_of_equal_classes() -> None:
    first, both, second = [0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [0.0, 0.75, 0.25]
    members = np.array([[first, first], [both, second], [both, [0.0, 0.25, 0.75]]])
    assert vote_entropy(members).tolist() == pytest.approx([0, 0, LN2])


def test_votes_that_tie_are_ordered_by_hash_whatever_the_classes() -> None:
    """2 votes to 1 among 5 classes, in all ways; sums in another order would differ in the last bit."""
    rng = np.random.default_rng(0)
    pairs = [rng.permutation(5)[:2] for _ in range(50)]
    votes = np.array([rng.permutation([one, one, one, one, other, other, other]) for one, other in pairs])
    selection = select("QueryByCommittee", np.eye(5, dtype=np.float32)[votes], 50, feature="committee")
    assert len(set(selection.scores.tolist())) == 1
    assert selection.indices.tolist() == np.argsort(hash_keys(sample_ids(50), 0)).tolist()


@pytest.mark.parametrize(
    ("method", "first"), [("vote_entropy", 1), ("consensus_entropy", 0), ("mean_kl", 2), (None, 1)]
)
def test_methods_rank_as_their_definitions_differ(method: str | None, first: int) -> None:
    alike = [[0.34, 0.33, 0.33], [0.34, 0.33, 0.33], [0.34, 0.33, 0.33]]
    three_votes = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.3, 0.2, 0.5]]
    sure = [[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]
    parameters = {} if method is None else {"method": method}
    selection = select("QueryByCommittee", as_float32(alike, three_votes, sure), 3, feature="committee", **parameters)
    assert selection.indices[0] == first
    assert selection.parts[method or "vote_entropy"].tolist() == selection.scores.tolist()


@pytest.mark.shows("QueryByCommittee", "the mean KL divergence is BALD over the committee")
@pytest.mark.shows("BayesianDisagreement", "over a committee it is the mean KL divergence")
def test_mean_kl_over_a_committee_is_bald() -> None:
    members = random_members(np.random.default_rng(2), 500, 6, 9).astype(np.float32)
    by_kl = select("QueryByCommittee", members, 500, feature="committee", method="mean_kl")
    bald = select("BayesianDisagreement", members, 500, feature="committee")
    assert by_kl.scores.tolist() == pytest.approx(bald.scores.tolist(), abs=1e-14)
    assert by_kl.indices.tolist() == bald.indices.tolist()


@pytest.mark.shows("QueryByCommittee", "a committee of one is refused")
def test_a_committee_of_one_is_refused() -> None:
    with pytest.raises(StrategyError, match="2 or more") as caught:
        select("QueryByCommittee", random_members(np.random.default_rng(0), 5, 1, 3), 2, feature="committee")
    assert caught.value.field == "committee"


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(StrategyError, match="consensus_entropy") as caught:
        get_strategy("QueryByCommittee", {"method": "kl"})
    assert caught.value.field == "method"


@pytest.mark.parametrize("measure", METHODS.values())
def test_the_smallest_numbers_and_exact_zeros_give_finite_scores(measure: Callable[[Array], Array]) -> None:
    smallest = np.nextafter(0.0, 1.0)
    members = np.array([[[1.0, smallest, 0.0], [1.0, 0.0, smallest]], [[1.0, 0.0, 0.0], [0.0, smallest, 1.0]]])
    assert measure(members).tolist() == pytest.approx([0.0, LN2], abs=1e-15)


@given(seed=st.integers(0, 10**6), models=st.integers(2, 9), classes=st.integers(1, 12))
def test_measures_are_bounded_and_do_not_depend_on_other_rows_or_on_one_column(
    seed: int, models: int, classes: int
) -> None:
    members = random_members(np.random.default_rng(seed), 7, models, classes)
    for measure in METHODS.values():
        scores = measure(members)
        assert (scores >= 0).all() and (scores <= np.log(max(2, classes)) + 1e-12).all()
        assert scores.tolist() == [measure(row[None])[0] for row in members]
        if classes == 1:
            assert scores.tolist() == measure(np.concatenate([1 - members, members], axis=2)).tolist()


@pytest.mark.shows("QueryByCommittee", "scikit-activeml 1.0.1 on 300 random problems for each of KL and vote entropy")
@pytest.mark.parametrize(("method", "theirs"), [("mean_kl", "KL_divergence"), ("vote_entropy", "vote_entropy")])
def test_scikit_activeml_scores_hundreds_of_random_problems_alike(method: Method, theirs: str) -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        size, models, classes = rng.integers(2, 30), rng.integers(2, 8), rng.integers(2, 9)
        members = random_members(rng, int(size), int(models), int(classes))
        _, utilities = query_of_scikit_activeml("QueryByCommittee", members, 1, method=theirs, eps=1e-12)
        assert METHODS[method](members).tolist() == pytest.approx(utilities[0].tolist(), abs=1e-9)
