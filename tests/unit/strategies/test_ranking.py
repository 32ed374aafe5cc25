"""Scores to ranks: the order by (score, hash of seed and id)."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import ranking
from strategies.ranking import TieBreaker, hash_keys, top_indices
from tests.support.pools import sample_ids


def test_the_key_is_the_blake2b_of_the_id_salted_with_the_seed() -> None:
    digest = hashlib.blake2b("héllo".encode(), digest_size=8, salt=(7).to_bytes(16, "big"), person=b"tie").digest()
    assert hash_keys(["héllo"], 7).tolist() == [int.from_bytes(digest, "big")]


def test_keys_never_change_between_releases() -> None:
    assert hash_keys(["a", "b"], 0).tolist() == [8637454387884064221, 9532961543246647492]


def test_an_id_with_a_lone_surrogate_has_a_key() -> None:
    assert len(hash_keys(["\ud800"], 0)) == 1


@given(scores=st.lists(st.integers(0, 4), min_size=0, max_size=40), count=st.integers(0, 50), seed=st.integers(0, 9))
def test_ranks_are_those_of_a_full_sort_by_score_then_key(scores: list[int], count: int, seed: int) -> None:
    ids = sample_ids(len(scores))
    keys = hash_keys(ids, seed)
    expected = sorted(range(len(ids)), key=lambda row: (-scores[row], keys[row]))[:count]
    assert top_indices(np.array(scores, dtype=float), count, TieBreaker(ids, seed)).tolist() == expected


@given(seed=st.integers(0, 5), order=st.permutations(range(30)))
def test_the_input_order_does_not_matter(seed: int, order: list[int]) -> None:
    ids, scores = sample_ids(30), np.floor(np.arange(30.0) / 7)
    plain = top_indices(scores, 11, TieBreaker(ids, seed))
    moved = top_indices(scores[order], 11, TieBreaker([ids[row] for row in order], seed))
    assert np.array(order)[moved].tolist() == plain.tolist()


def test_another_seed_breaks_ties_otherwise() -> None:
    first, other = (top_indices(np.zeros(50), 10, TieBreaker(sample_ids(50), seed)).tolist() for seed in (0, 1))
    assert first != other


def test_zero_and_minus_zero_tie() -> None:
    ties = TieBreaker(["a", "b"], 0)
    orders = {tuple(top_indices(np.array(scores), 2, ties).tolist()) for scores in ([0.0, -0.0], [-0.0, 0.0])}
    assert len(orders) == 1


def test_only_ids_that_tie_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def spy(ids: map[str], seed: int) -> ranking.Keys:
        names = list(ids)
        hashed.extend(names)
        return hash_keys(names, seed)

    monkeypatch.setattr(ranking, "hash_keys", spy)
    scores = np.array([9.0, 8.0, 8.0, 7.0, 3.0, 3.0, 1.0, 1.0])
    top_indices(scores, 5, TieBreaker(sample_ids(8), 0))
    assert sorted(hashed) == ["sample-1", "sample-2", "sample-4", "sample-5"]


def test_an_id_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ties = TieBreaker(sample_ids(3), 0)
    first = ties.ordered(np.array([2, 0, 1]))
    monkeypatch.setattr(ranking, "hash_keys", None)
    assert ties.ordered(np.array([0, 1, 2])).tolist() == first.tolist()
    assert ties.first(np.array([0, 1, 2])) == first[0]
