import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data.compact_masks import area_average, compact_mask


def test_area_average_by_hand():
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    np.testing.assert_allclose(area_average(mask, [0, 0, 2, 2], 2), mask)
    np.testing.assert_allclose(area_average(mask, [0, 0, 2, 2], 1), [[0.75]])
    np.testing.assert_allclose(area_average(mask, [0.5, 0.5, 1.5, 1.5], 1), [[0.75]])
    np.testing.assert_allclose(area_average(mask, [0.75, 0, 1.75, 1], 1), [[0.75]])
    np.testing.assert_allclose(area_average(mask, [1, -1, 3, 1], 2), [[0, 0], [1, 0]])  # beyond the mask is nothing
    assert area_average(mask, [5, 5, 6, 6], 3).max() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_area_average_is_that_of_overlaps_summed_one_by_one(seed, size):
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (6, 7)).astype(np.uint8)
    corners = random.uniform(-2, 6, 2)
    box = np.concatenate([corners, corners + random.uniform(0.1, 6, 2)])

    def overlaps(start, stop, count):
        edges = np.linspace(start, stop, size + 1)
        shared = np.minimum(edges[1:, None], np.arange(count) + 1) - np.maximum(edges[:-1, None], np.arange(count))
        return shared.clip(0) * size / (stop - start)

    wanted = overlaps(box[1], box[3], 6) @ mask @ overlaps(box[0], box[2], 7).T
    np.testing.assert_allclose(area_average(mask, box, size), wanted, atol=1e-9)


def test_mask_of_whole_cells_is_exact():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 4:8] = 1
    compact = compact_mask(mask, np.float32([4, 2, 8, 6]), 4)
    assert compact.tolist() == [[255] * 4, [255] * 4, [0] * 4, [0] * 4]


def test_fractional_box_gives_shares():
    mask = np.zeros((4, 4), np.uint8)
    mask[:, 2:] = 1
    assert compact_mask(mask, np.array([1.5, 0, 3.5, 4]), 1).tolist() == [[191]]  # 1.5 of 2 pixels


def test_empty_mask_and_box_at_the_border():
    assert compact_mask(np.zeros((5, 5), np.uint8), np.array([0, 0, 5, 5]), 3).max() == 0
    assert compact_mask(np.ones((5, 5), np.uint8), np.array([4.2, 4.2, 5, 5]), 3).min() == 255


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_resize_leaves_it_and_flip_reverses_columns(seed, factor):
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (12, 14)).astype(np.uint8)
    corners = random.uniform([0, 0], [6, 6])
    box = np.concatenate([corners, corners + random.uniform(1, 6, 2)])
    compact = compact_mask(mask, box, 7)
    larger = np.kron(mask, np.ones((factor, factor), np.uint8))
    assert np.abs(compact_mask(larger, box * factor, 7).astype(int) - compact).max() <= 1
    mirrored = np.array([14 - box[2], box[1], 14 - box[0], box[3]])
    assert np.abs(compact_mask(mask[:, ::-1], mirrored, 7).astype(int) - compact[:, ::-1]).max() <= 1
