"""What is said of a chosen sample: worked out by hand, and against all distances one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Batch, Neighbour, Pool, Selection, explain, get_strategy, select_batch
from strategies.distances import squared_distances
from tests.support.pools import embeddings, reordered, sample_ids

Rows = NDArray[Any]


def on_a_line(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)[:, None]


def chosen(*indices: int) -> Selection:
    return Selection(np.array(indices, dtype=np.int64), np.zeros(len(indices)))


def test_the_nearest_is_labelled_or_chosen_earlier() -> None:
    features = {"embeddings": on_a_line(0, 4, 10, 13), "labelled_embeddings": on_a_line(-3, 20)}
    explanation = explain(Pool(list("abcd"), features), chosen(2, 0, 3))
    assert explanation.nearest == (
        Neighbour("labelled", 1, 10.0),
        Neighbour("labelled", 0, 3.0),
        Neighbour("chosen", 2, 3.0),
    )


def test_a_labelled_one_goes_before_a_chosen_one_at_the_same_distance() -> None:
    features = {"embeddings": on_a_line(0, 4), "labelled_embeddings": on_a_line(8, 8)}
    assert explain(Pool(list("ab"), features), chosen(0, 1)).nearest == (
        Neighbour("labelled", 0, 8.0),
        Neighbour("labelled", 0, 4.0),
    )


def test_the_first_of_a_batch_has_no_neighbour_while_nothing_is_labelled() -> None:
    explanation = explain(Pool(list("ab"), {"embeddings": on_a_line(0, 4)}), chosen(1, 0))
    assert explanation.nearest == (None, Neighbour("chosen", 1, 4.0))


def test_each_sample_of_the_pool_is_stood_for_by_its_nearest_chosen_one() -> None:
    # 0, 1 and 2 are nearest 1; 5 is as near 1 as 9, which ranks first; 9 and 10 are nearest 9.
    pool = Pool(list("abcdef"), {"embeddings": on_a_line(0, 1, 2, 5, 9, 10)})
    stands_for = explain(pool, chosen(4, 1)).stands_for
    assert stands_for is not None and stands_for.tolist() == [3, 3]


def test_a_chosen_sample_stands_for_itself_also_beside_its_copies() -> None:
    pool = Pool(list("abcd"), {"embeddings": on_a_line(1, 1, 1, 1)})
    stands_for = explain(pool, chosen(2, 0)).stands_for
    assert stands_for is not None and stands_for.tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_all_exact_distances_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, labelled = embeddings(rng, 300), embeddings(rng, 9)
    selection = chosen(*rng.permutation(300)[:40].tolist())
    explanation = explain(Pool(sample_ids(300), {"embeddings": rows, "labelled_embeddings": labelled}), selection)
    squares = np.stack([squared_distances(rows, rows[index]) for index in selection.indices], axis=1)
    nearest = squares.argmin(axis=1)
    nearest[selection.indices] = np.arange(40)
    assert explanation.stands_for is not None and explanation.nearest is not None
    assert np.array_equal(explanation.stands_for, np.bincount(nearest, minlength=40))
    assert explanation.stands_for.sum() == 300
    for rank, (index, found) in enumerate(zip(selection.indices, explanation.nearest, strict=True)):
        to_labelled = [float(squared_distances(rows[index : index + 1], point)[0]) for point in labelled]
        least = min([*to_labelled, *squares[index, :rank]])
        assert found is not None and found.distance == float(np.sqrt(least))


def test_the_order_of_the_pool_changes_nothing() -> None:
    rows = embeddings(np.random.default_rng(3), 200)
    order = np.random.default_rng(4).permutation(200)
    plain_pool, moved_pool = (
        Pool(sample_ids(200), {"embeddings": rows}),
        reordered(sample_ids(200), {"embeddings": rows}, order),
    )
    strategy = get_strategy("KCenterSampling")
    plain = explain(plain_pool, strategy.select(plain_pool, 30))
    moved = explain(moved_pool, strategy.select(moved_pool, 30))
    assert plain.stands_for is not None and moved.stands_for is not None and moved.nearest is not None
    assert np.array_equal(plain.stands_for, moved.stands_for)
    assert plain.nearest == tuple(
        found and Neighbour(found.kind, int(order[found.index]), found.distance) for found in moved.nearest
    )


def test_parts_are_those_of_the_selection() -> None:
    pool = Pool(list("ab"), {"probabilities": np.array([[0.9, 0.1], [0.3, 0.7]], dtype=np.float32)})
    explanation = explain(pool, select_batch(get_strategy("MarginConfidence"), pool, 2))
    assert {name: values.tolist() for name, values in explanation.parts.items()} == {
        "p1": pytest.approx([0.7, 0.9]),
        "p2": pytest.approx([0.3, 0.1]),
        "predicted_class": [1.0, 0.0],
    }
    assert (explanation.nearest, explanation.stands_for, explanation.warnings) == (None, None, ())


def test_k_center_says_the_distance() -> None:
    pool = Pool(list("abc"), {"embeddings": on_a_line(0, 5, 11)})
    selection = get_strategy("KCenterSampling").select(pool, 3)
    assert np.array_equal(selection.parts["distance"], selection.scores)


def test_random_draws_were_there_before_the_strategys_choices() -> None:
    # 9 is drawn, and ranks last; the strategy's 4 is 5 away from it, and 9 knows nothing of 4.
    batch = Batch(np.array([1, 2]), np.zeros(2), drawn=("strategy", "random"))
    explanation = explain(Pool(list("abc"), {"embeddings": on_a_line(0, 4, 9)}), batch)
    assert explanation.nearest == (Neighbour("chosen", 2, 5.0), None)


def test_what_would_take_minutes_is_left_out_and_said() -> None:
    pool = Pool(sample_ids(100), {"embeddings": embeddings(np.random.default_rng(0), 100)})
    explanation = explain(pool, chosen(1, 2, 3), max_work=3599)
    assert (explanation.nearest, explanation.stands_for) == (None, None)
    assert "neighbours are left out" in explanation.warnings[0]
    assert explain(pool, chosen(1, 2, 3), max_work=3600).stands_for is not None


def test_an_empty_selection_has_nothing_to_explain() -> None:
    pool = Pool(list("ab"), {"embeddings": on_a_line(0, 4)})
    assert explain(pool, chosen()).nearest is None
