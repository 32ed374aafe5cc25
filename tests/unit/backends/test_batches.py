from __future__ import annotations

import numpy as np

from alaas_workers.backends.batches import cut, padded


def test_images_of_one_input_size_are_cut_in_order() -> None:
    batches = cut([(3, 8, 8), (3, 9, 5), (3, 2, 2)] * 3, lambda *_: (16, 16), 4)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_images_of_other_input_sizes_go_in_batches_of_their_own() -> None:
    batches = cut([(3, 8, 8), (3, 9, 5), (3, 8, 8), (3, 8, 8)], lambda shape: shape[1:], 2)
    assert batches == [[0, 2], [3], [1]]


def test_no_images_make_no_batches() -> None:
    assert cut([], lambda *_: (16, 16), 4) == []


def test_a_short_batch_is_filled_with_its_last_image() -> None:
    arrays = [np.full((3, 1, 1), value, np.uint8) for value in range(5)]
    assert [int(array[0, 0, 0]) for array in padded(arrays, 8)] == [0, 1, 2, 3, 4, 4, 4, 4]
    assert len(padded(arrays, 5)) == 5
