"""Drawn scenes: what is promised of their objects holds on many of them."""

from collections import defaultdict

import numpy as np
import pytest

from keras_mrcnn.scenes.drawing import SHAPES, draw_scene

NUM_SCENES = 120


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([7, index])) for index in range(NUM_SCENES)]


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]


def test_scenes_are_uint8_images_within_the_size_range(scenes):
    for image, _ in scenes:
        assert image.dtype == np.uint8 and image.shape[2] == 3
        assert all(224 <= side <= 288 for side in image.shape[:2])
    assert len({image.shape for image, _ in scenes}) > NUM_SCENES // 2


def test_size_range_is_obeyed():
    image, objects = draw_scene(np.random.default_rng(0), (64, 64), (100, 101))
    assert image.shape[0] == 64 and image.shape[1] in (100, 101)
    assert objects and all(item.mask.shape == image.shape[:2] for item in objects)


def test_one_to_ten_objects_and_every_count_occurs(scenes):
    assert {len(objects) for _, objects in scenes} == set(range(1, 11))


def test_objects_are_16_to_200_pixels_and_mostly_of_middling_size(scenes):
    sides = np.array([max(_box(item.mask)[2:]) for _, objects in scenes for item in objects])
    assert sides.min() >= 16 and sides.max() <= 200
    assert np.mean(sides < 24) < 0.15
    assert np.mean(sides > 140) > 0.01
    assert 40 < np.median(sides) < 75


def test_hidden_share_is_at_most_60_percent_and_occlusion_happens(scenes):
    hidden = np.array([item.hidden for _, objects in scenes for item in objects])
    assert hidden.min() >= 0.0 and 0.45 < hidden.max() <= 0.6
    assert np.mean(hidden > 0.05) > 0.15


def test_masks_do_not_overlap(scenes):
    for _, objects in scenes:
        assert np.sum([item.mask for item in objects], axis=0).max() == 1


def test_every_category_and_subtype_occurs(scenes):
    seen = {(item.category, item.subtype) for _, objects in scenes for item in objects}
    assert seen == {(category, subtype) for category, shapes in SHAPES.items() for subtype in shapes}


def test_objects_differ_from_their_surroundings(scenes):
    """The rim just outside a mask has another colour than the rim just inside it, for nearly all objects."""
    steps = []
    for image, objects in scenes[:40]:
        for item in objects:
            inside, outside = item.mask[:, 1:] & ~item.mask[:, :-1], image.astype(np.float32)
            steps.append(np.linalg.norm(outside[:, 1:][inside].mean(axis=0) - outside[:, :-1][inside].mean(axis=0)))
    assert np.mean(np.array(steps) > 25) > 0.85


def test_colour_tells_no_class(scenes):
    """Mean colours, and how far colours spread within an object, are alike for the three classes."""
    values = defaultdict(list)
    for image, objects in scenes:
        for item in objects:
            pixels = image[item.mask].astype(np.float64)
            values[item.category].append([*pixels.mean(axis=0), pixels.std()])
    assert set(values) == set(SHAPES)
    everything = np.concatenate([np.array(rows) for rows in values.values()])
    for rows in values.values():
        error = everything.std(axis=0) / np.sqrt(len(rows))
        assert (np.abs(np.mean(rows, axis=0) - everything.mean(axis=0))[:3] < 4 * error[:3]).all()
        assert abs(np.mean(rows, axis=0)[3] / everything.mean(axis=0)[3] - 1) < 0.15


def test_scene_depends_on_the_random_state_alone():
    first, second = (draw_scene(np.random.default_rng([0, 1, 2])) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert [item.hidden for item in first[1]] == [item.hidden for item in second[1]]
    other = draw_scene(np.random.default_rng([0, 1, 3]))[0]
    assert other.shape != first[0].shape or (other != first[0]).any()
