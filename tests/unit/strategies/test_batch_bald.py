"""BatchBALD against hand-worked cases, all configurations by brute force, and scikit-activeml."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import entr

from strategies import Pool, Selection, batch_bald, get_strategy
from strategies.batch_bald import BatchBALD, affordable
from strategies.joint_labels import SCREEN_ERROR, JointLabels
from strategies.ranking import hash_keys
from tests.support.committees import query_of_scikit_activeml, random_members
from tests.support.pools import sample_ids

Array = NDArray[Any]
LN2 = np.log(2.0)


def select(members: Array, budget: int, *, seed: int = 0, **parameters: Any) -> Selection:
    return BatchBALD(**parameters).select(Pool(sample_ids(len(members)), {"passes": members}, seed), budget)


def joint_information(members: Array) -> float:
    """I(y1..yn; t) in nats of `members` (n, T, C), over all configurations."""
    size, passes, classes = members.shape
    chances = [
        np.prod([members[row, :, label] for row, label in enumerate(labels)], axis=0)
        for labels in product(range(classes), repeat=size)
    ]
    return float(entr(np.mean(chances, axis=1)).sum() - entr(members).sum() / passes)


def votes(*rows: str) -> Array:
    """(N, T, 2) of sure passes: "0011" says that the last two of four passes see class 1."""
    return np.eye(2, dtype=np.float32)[[[int(vote) for vote in row] for row in rows]]


@pytest.mark.shows("BatchBALD", "a copy of a chosen sample tells nothing more")
def test_a_copy_of_a_good_question_tells_nothing_more() -> None:
    members = votes("0011", "0011", "0101", "0000")
    members[2] = 0.9 * members[2] + 0.05
    selection = select(members, 4)
    of_leaning = LN2 - entr([0.95, 0.05]).sum()
    assert selection.indices[1] == 2  # plain BALD takes the copy
    assert selection.scores[:2].tolist() == pytest.approx([LN2, of_leaning])
    assert selection.parts["joint_information"].tolist() == pytest.approx(
        [LN2, LN2 + of_leaning, LN2 + of_leaning, LN2 + of_leaning]
    )


def test_two_halves_of_four_passes_tell_them_all_apart() -> None:
    selection = select(votes("0011", "0101", "0110", "0001", "1111"), 5)
    assert set(selection.indices[:2].tolist()) < {0, 1, 2}
    assert selection.parts["joint_information"].tolist() == pytest.approx([LN2] + [2 * LN2] * 4)


def test_beyond_what_the_joint_tells_samples_come_by_bald_alone() -> None:
    selection = select(votes("0011", "0101", "0110", "0001", "1111"), 5)
    of_one_against_three = 2 * LN2 - 0.75 * np.log(3)
    assert selection.scores.tolist() == pytest.approx([LN2, LN2, LN2, of_one_against_three, 0])
    assert selection.parts["bald"].tolist() == selection.scores.tolist()
    assert set(selection.indices[:3].tolist()) == {0, 1, 2}
    assert selection.indices[3:].tolist() == [3, 4]


def test_passes_that_all_agree_are_ordered_by_hash() -> None:
    selection = select(votes(*["0000"] * 20), 20)
    assert selection.indices.tolist() == np.argsort(hash_keys(sample_ids(20), 0)).tolist()
    assert selection.scores.tolist() == [0.0] * 20


@pytest.mark.shows("BatchBALD", "a batch of one is BALD's")
def test_one_sample_is_that_of_bald() -> None:
    members = random_members(np.random.default_rng(0), 200, 6, 4).astype(np.float32)
    bald = get_strategy("BayesianDisagreement").select(Pool(sample_ids(200), {"passes": members}), 1)
    selection = select(members, 1)
    assert selection.indices.tolist() == bald.indices.tolist()
    assert selection.scores.tolist() == pytest.approx(bald.scores.tolist(), abs=1e-7)


@pytest.mark.shows("BatchBALD", "the joint information of all configurations, by brute force")
def test_gains_are_those_of_all_configurations_by_brute_force() -> None:
    for seed in range(40):
        members = random_members(np.random.default_rng(seed), 6, 3 + seed % 3, 2 + seed % 3)
        joint = JointLabels(members.shape[1], 10_000, np.random.default_rng(0))
        for chosen in range(3):
            known = joint_information(members[:chosen]) if chosen else 0.0
            expected = [joint_information(members[[*range(chosen), row]]) - known for row in range(6)]
            assert joint.gains(members).tolist() == pytest.approx(expected, abs=1e-12)
            assert joint.screened_gains(members).tolist() == pytest.approx(expected, abs=1e-12)
            joint.add(members[chosen])
        assert not joint.is_sampled


@pytest.mark.shows("BatchBALD", "drawn configurations estimate what all of them give")
def test_drawn_configurations_estimate_what_all_of_them_give() -> None:
    members = random_members(np.random.default_rng(1), 30, 5, 3)
    estimates = []
    for seed in range(30):
        drawn = JointLabels(5, 200, np.random.default_rng(seed))
        for passes in members[:8]:
            drawn.add(passes)
        assert drawn.is_sampled
        estimates.append(drawn.gains(members[8:]))
    exact = JointLabels(5, 3**8, np.random.default_rng(0))
    for passes in members[:8]:
        exact.add(passes)
    assert not exact.is_sampled
    errors = np.mean(estimates, axis=0) - exact.gains(members[8:])
    noise = np.std(estimates, axis=0) / np.sqrt(30)
    assert (np.abs(errors) < 4 * noise + 1e-9).all()
    assert np.std(estimates, axis=0).max() < 0.02


def test_configurations_that_cannot_be_do_not_count_towards_the_limit() -> None:
    joint = JointLabels(4, 8, np.random.default_rng(0))
    for passes in votes(*["0011", "0101"] * 20).astype(float):
        joint.add(passes)
    assert not joint.is_sampled
    assert joint.gains(votes("0110", "0001").astype(float)).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_chances_too_small_for_a_float_stay_finite() -> None:
    members = np.full((1, 2, 2), 1e-300)
    members[0, :, 0] = [1 - 1e-300, 1e-300]
    members[0, :, 1] = [1e-300, 1 - 1e-300]
    for limit in (4, 10**6):
        joint = JointLabels(2, limit, np.random.default_rng(0))
        for _ in range(6):
            joint.add(members[0])
        assert joint.gains(members).tolist() == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize("at_once", [1, 64])
def test_bounds_out_of_date_and_noise_of_screening_leave_the_choice_of_a_naive_search(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    def screened(joint: JointLabels, members: Array) -> Array:
        return joint.gains(members) + np.linspace(-1, 1, len(members)) * SCREEN_ERROR

    monkeypatch.setattr(JointLabels, "screened_gains", screened)
    monkeypatch.setattr(batch_bald, "_REFRESHED_AT_ONCE", at_once)
    keys = hash_keys(sample_ids(150), 0)
    for seed in range(30):
        members = np.repeat(random_members(np.random.default_rng(seed), 75, 4, 3).astype(np.float32), 2, axis=0)
        wide = members.astype(np.float64)
        wide /= wide.sum(axis=2, keepdims=True)
        chosen: list[int] = []
        joint = JointLabels(4, 3**5, np.random.default_rng(0))
        for _ in range(5):
            gains = joint.gains(wide)
            gains[chosen] = -1
            chosen.append(min(np.flatnonzero(gains == gains.max()).tolist(), key=lambda row: int(keys[row])))
            joint.add(wide[chosen[-1]])
        assert select(members, 5, configurations=3**5).indices.tolist() == chosen


@pytest.mark.parametrize("budget", [30, 200])
def test_the_joint_is_followed_for_as_many_steps_as_said(budget: int) -> None:
    members = random_members(np.random.default_rng(3), 200, 50, 3).astype(np.float32)
    selection = select(members, budget, joint_steps=12)
    bald = get_strategy("BayesianDisagreement").select(Pool(sample_ids(200), {"passes": members}), 200).indices
    rest = [row for row in bald.tolist() if row not in selection.indices[:12].tolist()]
    assert selection.indices[12:].tolist() == rest[: budget - 12]
    joint = selection.parts["joint_information"]
    assert (np.diff(joint[:12]) > 0).all() and (np.diff(joint[12:]) == 0).all()
    assert selection.scores[12:].tolist() == selection.parts["bald"][12:].tolist()


def test_only_the_candidates_with_most_bald_are_chosen_jointly() -> None:
    members = random_members(np.random.default_rng(4), 100, 10, 3).astype(np.float32)
    bald = get_strategy("BayesianDisagreement").select(Pool(sample_ids(100), {"passes": members}), 100)
    selection = select(members, 20, candidates=8)
    assert set(selection.indices[:8].tolist()) == set(bald.indices[:8].tolist())
    assert selection.indices[8:].tolist() == bald.indices[8:20].tolist()


@pytest.mark.parametrize("classes", [26, 100, 1000, 50_000])
def test_by_default_a_joint_step_costs_no_more_at_many_classes_than_at_25(classes: int) -> None:
    assert (affordable(1000, 25), affordable(2000, 25), affordable(1000, 2)) == (1000, 2000, 1000)
    entries = affordable(1000, classes) * affordable(2000, classes) * classes
    assert 0.9 * 1000 * 2000 * 25 < entries <= 1000 * 2000 * 25


def test_by_default_400_classes_get_a_quarter_of_the_candidates_and_configurations() -> None:
    members = random_members(np.random.default_rng(12), 300, 4, 400, spread=2.0).astype(np.float32)
    of_quarter = select(members, 8, candidates=250, configurations=500)
    assert select(members, 8).scores.tolist() == of_quarter.scores.tolist()
    assert select(members, 8, configurations=100).scores.tolist() != of_quarter.scores.tolist()


def test_estimated_gains_that_add_up_to_more_than_the_passes_hold_are_cut_in_the_joint() -> None:
    members = random_members(np.random.default_rng(0), 300, 20, 10).astype(np.float32)
    selection = select(members, 15, configurations=40)
    assert selection.scores.sum() > np.log(20) == selection.parts["joint_information"][-1]


def test_drawn_configurations_come_from_the_seed() -> None:
    members = random_members(np.random.default_rng(6), 200, 40, 5).astype(np.float32)
    one, again, other = (select(members, 20, seed=seed, configurations=100).scores.tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_copies_at_any_place_gain_the_same_to_the_last_bit_and_go_by_hash() -> None:
    members = random_members(np.random.default_rng(7), 40, 20, 5, spread=2.0).astype(np.float32)
    copies = np.concatenate([members] * 3)
    selection = select(copies, 6, configurations=100)
    keys = hash_keys(sample_ids(120), 0)
    left = set(range(120))
    for row in selection.indices.tolist():
        equal = [other for other in left if other % 40 == row % 40]
        assert row == min(equal, key=lambda other: keys[other])
        left.remove(row)


@pytest.mark.shows("BatchBALD", "one BLAS thread or two give the same bits")
def test_the_order_of_the_pool_changes_no_bit_with_one_thread_or_two() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rng = np.random.default_rng(8)
    members, ids = random_members(rng, 500, 20, 10).astype(np.float32), sample_ids(500)
    strategy = BatchBALD(configurations=300, joint_steps=10)
    plain = strategy.select(Pool(ids, {"passes": members}), 60)
    for threads in (1, 2):
        order = rng.permutation(500)
        with threadpoolctl.threadpool_limits(threads):
            moved = strategy.select(Pool([ids[row] for row in order], {"passes": members[order]}), 60)
        assert order[moved.indices].tolist() == plain.indices.tolist()
        assert moved.scores.tolist() == plain.scores.tolist()


def test_a_committee_serves_in_place_of_passes() -> None:
    members = random_members(np.random.default_rng(9), 50, 4, 3).astype(np.float32)
    by_committee = BatchBALD().select(Pool(sample_ids(50), {"committee": members}), 10)
    assert by_committee.indices.tolist() == select(members, 10).indices.tolist()


def test_one_column_is_read_as_its_two_sides() -> None:
    one = random_members(np.random.default_rng(10), 50, 4, 1)
    two = np.concatenate([1 - one, one], axis=2)
    assert select(one, 50).indices.tolist() == select(two, 50).indices.tolist()


def test_float16_is_taken_as_it_is() -> None:
    members = random_members(np.random.default_rng(11), 60, 4, 3).astype(np.float16)
    assert select(members, 10).indices.tolist() == select(members.astype(np.float64), 10).indices.tolist()


@pytest.mark.shows("BatchBALD", "scikit-activeml 1.0.1 on 250 random problems")
def test_scikit_activeml_chooses_alike_on_hundreds_of_random_problems() -> None:
    for seed in range(250):
        rng = np.random.default_rng(seed)
        size, passes, classes = int(rng.integers(3, 20)), int(rng.integers(2, 7)), int(rng.integers(2, 5))
        members = random_members(rng, size, passes, classes)
        # Theirs is exact up to n_MC_samples configurations, and would draw one for each pass by default.
        indices, utilities = query_of_scikit_activeml("BatchBALD", members, 3, n_MC_samples=classes**3, eps=1e-12)
        selection = select(members, 3)
        assert selection.indices.tolist() == indices.tolist()
        joint = np.nanmax(utilities, axis=1).tolist()
        assert selection.parts["joint_information"].tolist() == pytest.approx(joint, abs=1e-9)
