import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_maps import inverse_map, jittered_size, placed_map
from keras_mrcnn.data.augmentation_objects import covered_pixels, map_objects, visible_objects
from keras_mrcnn.data.augmentation_samples import Sampling, make_sample
from keras_mrcnn.data.fine_masks import fine_mask

SIZE = (40, 60)
SQUARE = [[10.0, 10, 30, 10, 30, 30, 10, 30]]
SQUARE_BOX = (10.0, 10, 30, 30)
# 40 x 60, column by column: the same square as a mask.
SQUARE_MASK = {"size": [40, 60], "counts": [410, *([20, 20] * 20)[:-1], 40 * 60 - 410 - 39 * 20]}
NOTHING = {"size": [40, 60], "counts": [2400]}


def objects_of(*outlines):
    """Objects as `decode_record` gives them, of (segmentation, box)."""
    masks = [fine_mask(outline, *SIZE) for outline, _ in outlines]
    cells = [np.zeros(0, np.uint8), *(mask.cells.ravel() for mask in masks)]
    return {
        "boxes": tf.constant([box for _, box in outlines], tf.float32, [len(masks), 4]),
        "frames": tf.constant([mask.frame for mask in masks], tf.int32, [len(masks), 5]),
        "starts": tf.constant(np.cumsum([len(one) for one in cells])[:-1], tf.int32),
        "cells": tf.constant(np.concatenate(cells), tf.uint8),
    }


def map_to(new_size=SIZE, canvas=None, place=(0, 0), angle=0.0, mirrored=False):
    """(map, size of the canvas) for an image of `SIZE`."""
    sizes = [tf.constant(size, tf.int32) for size in (SIZE, new_size, canvas or new_size)]
    return placed_map(*sizes, tf.constant(place, tf.float64), tf.constant(angle, tf.float64), mirrored), sizes[2]


def seen(outline=SQUARE, box=SQUARE_BOX, covered=None, mask_size=4, **how):
    """(box, mask) of what can be seen of one object; (None, None) if it is not kept."""
    covered = None if covered is None else tf.constant(covered)
    boxes, masks, kept = visible_objects(objects_of((outline, box)), *map_to(**how), mask_size, covered)
    return (boxes[0].numpy(), masks[0].numpy()) if kept[0] else (None, None)


def area(outline=SQUARE, box=SQUARE_BOX, **how):
    """Area of one object on the canvas, pixels."""
    objects = objects_of((outline, box))
    return float(map_objects(objects, *map_to(**how), lambda one: one.area, tf.TensorSpec([], tf.float64))[0])


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_resized(outline):
    box, mask = seen(outline, new_size=(60, 120))
    assert box.tolist() == [20, 15, 60, 45]
    assert area(outline, new_size=(60, 120)) == 40 * 30
    assert mask.min() == 255


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_cropped(outline):
    # The canvas shows columns 20..49 and rows 0..19 of the image.
    crop = {"canvas": (20, 30), "place": (0.65, 0.0)}
    assert seen(outline, **crop)[0].tolist() == [0, 10, 10, 20]
    assert area(outline, **crop) == 100


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_mirrored(outline):
    box, _ = seen(outline, mirrored=True)
    assert box.tolist() == [30, 10, 50, 30]
    assert area(outline, mirrored=True) == 400


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_turned_by_an_eighth(outline):
    box, mask = seen(outline, angle=45, mask_size=8)
    # The centre (20, 20) lies 10 left of the image's; as seen, it moves down: y points down.
    centre = np.array([30 - 10 * np.sqrt(0.5), 20 + 10 * np.sqrt(0.5)])
    half = 10 * np.sqrt(2)
    wanted = np.concatenate([centre - half, centre + half]).clip(0, [60, 40, 60, 40])
    np.testing.assert_allclose(box, wanted, atol=1e-5)
    assert mask[0, 0] == mask[0, 7] == 0  # not the box of the turned box, but a diamond in it
    assert mask[4, 4] == 255


def test_diamond_turned_fills_its_box():
    # The box of the turned box would have sides of 40; that of the turned diamond has 20 * sqrt(2). Its fine mask has
    # steps of a seventh of a pixel.
    box, mask = seen([[30.0, 0, 50, 20, 30, 40, 10, 20]], (10, 0, 50, 40), angle=45)
    wanted = [30 - 200**0.5, 20 - 200**0.5, 30 + 200**0.5, 20 + 200**0.5]
    np.testing.assert_allclose(box, wanted, atol=1 / 7)
    assert mask.min() > 240


def test_fractions_of_pixels_stay():
    outline, box = [[10.25, 10.5, 14.75, 10.5, 14.75, 16.25, 10.25, 16.25]], (10.25, 10.5, 14.75, 16.25)
    assert seen(outline, box)[0].tolist() == list(box)
    turned = seen(outline, box, angle=180)[0]
    np.testing.assert_allclose(turned, [60 - 14.75, 40 - 16.25, 60 - 10.25, 40 - 10.5], atol=1e-5)


def test_several_polygons_are_one_object():
    parts = [SQUARE[0], (np.array(SQUARE[0]) + [25, 0] * 4).tolist()]
    box = (10, 10, 55, 30)
    assert area(parts, box) == 800
    assert seen(parts, box)[0].tolist() == list(box)
    # Of what lies right of the crop, nothing is left: the box is that of the first part.
    assert seen(parts, box, canvas=(40, 33))[0].tolist() == [10, 10, 30, 30]


def test_outline_that_reaches_beyond_its_image_ends_there():
    outline, box = [[50.0, 10, 70, 10, 70, 30, 50, 30]], (50, 10, 60, 30)
    assert seen(outline, box, canvas=(40, 100))[0].tolist() == list(box)
    assert area(outline, box, canvas=(40, 100)) == 200
    turned, _ = seen(outline, box, angle=180, canvas=(40, 100))
    np.testing.assert_allclose(turned, [0, 10, 10, 30], atol=1e-5)


def test_what_lies_beside_the_canvas_is_not_kept():
    assert area(canvas=(40, 8)) == 0
    assert seen(canvas=(40, 8)) == (None, None)
    assert seen(canvas=(40, 8), covered=np.ones((40, 8), bool)) == (None, None)
    covered = covered_pixels(objects_of((SQUARE, SQUARE_BOX)), *map_to(canvas=(40, 8))).numpy()
    assert covered.shape == (40, 8) and not covered.any()


@pytest.mark.parametrize(("size", "kept"), [((2, 3), True), ((1, 3), False), ((2, 2), False)])
def test_box_with_a_side_below_a_pixel_is_not_kept(size, kept):
    # At (2, 3) the square is 1 pixel wide and high.
    assert (seen(new_size=size)[0] is not None) == kept


def test_empty_mask_is_not_kept():
    assert seen(NOTHING, angle=10) == (None, None)


def test_without_masks_boxes_are_the_same():
    box, mask = seen(angle=10, mask_size=0)
    assert mask.shape == (0, 0)
    assert box.tolist() == seen(angle=10)[0].tolist()


def test_no_objects():
    boxes, masks, kept = visible_objects(objects_of(), *map_to(), 4)
    assert (boxes.shape, masks.shape, kept.shape) == ((0, 4), (0, 4, 4), (0,))
    assert not covered_pixels(objects_of(), *map_to()).numpy().any()


def test_covered_by_hand():
    hidden = np.zeros(SIZE, bool)
    hidden[:, 20:] = True  # the right half of the square
    assert seen(covered=hidden)[0].tolist() == [10, 10, 20, 30]
    hidden = np.zeros(SIZE, bool)
    hidden[20:, 20:] = True  # a corner
    box, mask = seen(covered=hidden, mask_size=2)
    assert box.tolist() == [10, 10, 30, 30]
    assert mask.tolist() == [[255, 255], [255, 0]]
    assert seen(covered=np.zeros(SIZE, bool))[1].min() == 255


def test_everything_covered_leaves_nothing():
    assert seen(covered=np.ones(SIZE, bool)) == (None, None)


def test_an_object_of_which_less_than_a_twentieth_is_left_is_not_kept():
    hidden = np.ones(SIZE, bool)
    hidden[:, 10] = False  # one column of twenty
    assert seen(covered=hidden)[0].tolist() == [10, 10, 11, 30]
    hidden[29, 10] = True
    assert seen(covered=hidden) == (None, None)


def test_covered_pixels_are_those_at_least_half_full():
    small = objects_of(([[10.0, 10, 12.4, 10, 12.4, 12.6, 10, 12.6]], (10, 10, 12.4, 12.6)))
    covered = covered_pixels(small, *map_to()).numpy()
    assert np.argwhere(covered).tolist() == [[y, x] for y in (10, 11, 12) for x in (10, 11)]


def test_covered_pixels_are_those_of_all_objects():
    both = objects_of((SQUARE, SQUARE_BOX), ([[40.0, 5, 45, 5, 45, 10, 40, 10]], (40, 5, 45, 10)))
    wanted = np.zeros(SIZE, bool)
    wanted[10:30, 10:30] = wanted[5:10, 40:45] = True
    np.testing.assert_array_equal(covered_pixels(both, *map_to()), wanted)


def test_compact_mask_of_a_silhouette_is_that_of_its_parts():
    # An eighth of a turn on a canvas of twice the size: what the parts cover is what the mask says.
    how = {"new_size": (80, 120), "angle": 45}
    box, mask = seen(mask_size=16, **how)
    share = mask.sum() / 255 / mask.size
    assert share * np.prod(box[2:] - box[:2]) == pytest.approx(area(**how), rel=0.01)


def warped_mask(mask, source_map, size):
    """A full-size mask of the image file, sampled at the centres of a sample's pixels."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    column, row = (np.floor(a * x + b * y + c).astype(int) for a, b, c in source_map)
    inside = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
    return mask[np.where(inside, row, 0), np.where(inside, column, 0)].astype(bool) & inside


def full_masks(dataset, sampling, place, size):
    """The full-size masks of a sample's objects, mapped as the sample was."""
    drawn = sampling.draw(dataset, place)
    image_id = int(dataset.image_ids[place[1]])
    old = tf.constant(dataset.image_sizes[place[1]])
    new = jittered_size(old, drawn.min_size, sampling.max_size, drawn.jitter)
    matrix = placed_map(old, new, tf.constant(size), drawn.place, drawn.angle, False)
    source_map = inverse_map(matrix).numpy()
    return [warped_mask(dataset.coco.annToMask(one), source_map, size) for one in dataset.annotations(image_id)]


def test_masks_are_the_warped_masks_of_photographs(photographs):
    augmentation = Augmentation(flip=0.0, rotation=25.0, crop=True, scale_jitter=(0.4, 1.8))
    sampling = Sampling(640, 1000, augmentation=augmentation)
    make = tf.function(lambda place: make_sample(photographs, place, sampling), autograph=False)
    overlaps, lost = [], 0
    for row in range(0, 50, 2):
        place = tf.constant([0, row], tf.int64)
        sample = {name: value.numpy() for name, value in make(place).items()}
        size = tuple(sample["image_sizes"].tolist())
        wanted = full_masks(photographs, sampling, place, size)
        visible = [mask for mask in wanted if mask.any()]
        lost += len(wanted) - len(visible)
        valid = sample["gt_labels"] > 0
        boxes, labels, masks = (sample[name][valid] for name in ("gt_boxes", "gt_labels", "gt_masks"))
        truth = GroundTruth(boxes, labels, masks, ("",) * len(labels), size)
        if len(visible) != len(truth):
            continue  # one that has a few pixels may be kept or not; the others cannot be told apart then
        for mask, pasted, box in zip(visible, truth.paste_masks(), truth.boxes):
            rows, columns = np.nonzero(mask)
            ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # The original's own pixels are up to 1.8 pixels here.
            assert np.abs(ends - box).max() <= 2.0
            if min(box[2] - box[0], box[3] - box[1]) >= 30:
                overlaps.append((mask & pasted).sum() / (mask | pasted).sum())
    assert len(overlaps) > 50 and lost > 5
    assert np.mean(overlaps) > 0.97
    assert np.min(overlaps) > 0.85
