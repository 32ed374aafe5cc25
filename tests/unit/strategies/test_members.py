"""Sums of passes, and what a pool makes of the opinions that it is given."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import Pool
from strategies.members import pass_sums
from tests.support.committees import random_members
from tests.support.pools import sample_ids

MEMBERS = random_members(np.random.default_rng(0), 40, 5, 3).astype(np.float32)


def test_sums_are_the_mean_and_the_mean_entropy() -> None:
    sums = pass_sums(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [1.0, 0.0]]]))
    assert sums.tolist() == [[0.5, 0.5, 0.0], [0.75, 0.25, pytest.approx(np.log(2) / 2)]]


def test_the_sums_of_a_sample_are_the_same_wherever_it_stands() -> None:
    assert np.array_equal(pass_sums(MEMBERS), np.concatenate([pass_sums(row[None]) for row in MEMBERS]))


def test_one_column_is_summed_as_its_two_sides() -> None:
    one = MEMBERS[:, :, :1].astype(np.float64)
    assert np.array_equal(pass_sums(one), pass_sums(np.concatenate([1 - one, one], axis=2)))


@pytest.mark.parametrize("name", ["passes", "committee"])
def test_a_pool_makes_sums_of_the_opinions_that_it_holds(name: str) -> None:
    pool = Pool(sample_ids(40), {name: MEMBERS})
    assert np.array_equal(pool.features["pass_sums"], pass_sums(MEMBERS))
    assert not pool.features["pass_sums"].flags.writeable


def test_a_committee_serves_as_passes_without_a_copy_and_passes_as_no_committee() -> None:
    assert np.shares_memory(Pool(sample_ids(40), {"committee": MEMBERS}).features["passes"], MEMBERS)
    assert "committee" not in Pool(sample_ids(40), {"passes": MEMBERS}).features


def test_what_is_given_is_not_made_again() -> None:
    sums = pass_sums(MEMBERS).astype(np.float32)
    pool = Pool(sample_ids(40), {"committee": MEMBERS[:, :2], "passes": MEMBERS, "pass_sums": sums})
    assert pool.features["passes"].shape == MEMBERS.shape
    assert pool.features["pass_sums"].dtype == np.float32


def test_passes_come_before_a_committee_in_the_sums() -> None:
    pool = Pool(sample_ids(40), {"committee": MEMBERS[:, :2], "passes": MEMBERS})
    assert np.array_equal(pool.features["pass_sums"], pass_sums(MEMBERS))
