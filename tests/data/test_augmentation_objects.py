import numpy as np
import pytest

from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_maps import placed_map
from keras_mrcnn.data.augmentation_objects import (
    cover,
    covered_pixels,
    fill_outline,
    is_degenerate,
    silhouette_mask,
    visible_box,
)
from keras_mrcnn.data.augmentation_samples import mapped_sample
from keras_mrcnn.data.batching import PlannedSample
from keras_mrcnn.data.coco import CocoDataset

SIZE = (40, 60)
SQUARE = [np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])]
SQUARE_BOX = np.array([10.0, 10, 30, 30])
SQUARE_MASK = np.zeros(SIZE, np.uint8)
SQUARE_MASK[10:30, 10:30] = 1


def fill(outline=SQUARE, box=SQUARE_BOX, new_size=SIZE, canvas=None, **how):
    canvas = canvas or new_size
    return fill_outline(outline, box, placed_map(SIZE, new_size, canvas, **how), SIZE, canvas)


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_resized(outline):
    found = fill(outline, new_size=(60, 120))
    assert visible_box(found).tolist() == [20, 15, 60, 45]
    assert found.area == 40 * 30
    assert silhouette_mask(found, visible_box(found), 4).min() == 255


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_cropped(outline):
    # The canvas shows columns 20..49 and rows 0..19 of the image.
    found = fill(outline, canvas=(20, 30), place=(0.65, 0.0))
    assert visible_box(found).tolist() == [0, 10, 10, 20]
    assert found.area == 100


@pytest.mark.parametrize("outline", [SQUARE, SQUARE_MASK], ids=["polygon", "mask"])
def test_turned_by_an_eighth(outline):
    found = fill(outline, angle=45)
    # The centre (20, 20) lies 10 left of the image's; as seen, it moves down: y points down.
    centre = np.array([30 - 10 * np.sqrt(0.5), 20 + 10 * np.sqrt(0.5)])
    half = 10 * np.sqrt(2)
    wanted = np.concatenate([centre - half, centre + half]).clip(0, [60, 40, 60, 40])
    np.testing.assert_allclose(visible_box(found), wanted, atol=1e-9)
    mask = silhouette_mask(found, visible_box(found), 8)
    assert mask[0, 0] == mask[0, 7] == 0  # not the box of the turned box, but a diamond in it
    assert mask[4, 4] == 255


def test_diamond_turned_fills_its_box():
    # The box of the turned box would have sides of 40; that of the turned diamond has 20 * sqrt(2).
    diamond = [np.array([[30.0, 0], [50, 20], [30, 40], [10, 20]])]
    box = visible_box(fill(diamond, np.array([10.0, 0, 50, 40]), angle=45))
    np.testing.assert_allclose(box, [30 - 200**0.5, 20 - 200**0.5, 30 + 200**0.5, 20 + 200**0.5], atol=1e-9)


def test_fractions_of_pixels_stay():
    outline = [np.array([[10.25, 10.5], [14.75, 10.5], [14.75, 16.25], [10.25, 16.25]])]
    box = np.array([10.25, 10.5, 14.75, 16.25])
    assert visible_box(fill(outline, box)).tolist() == box.tolist()
    turned = visible_box(fill(outline, box, angle=180))
    np.testing.assert_allclose(turned, [60 - 14.75, 40 - 16.25, 60 - 10.25, 40 - 10.5])


def test_several_polygons_are_one_object():
    parts = [SQUARE[0], SQUARE[0] + [25, 0]]
    found = fill(parts, np.array([10.0, 10, 55, 30]))
    assert found.area == 800
    assert visible_box(found).tolist() == [10, 10, 55, 30]
    # Of what lies right of the crop, nothing is left: the box is that of the first part.
    assert visible_box(fill(parts, np.array([10.0, 10, 55, 30]), canvas=(40, 33))).tolist() == [10, 10, 30, 30]


def test_outline_that_reaches_beyond_its_image_ends_there():
    outline = [np.array([[50.0, 10], [70, 10], [70, 30], [50, 30]])]
    found = fill(outline, np.array([50.0, 10, 60, 30]), canvas=(40, 100))
    assert visible_box(found).tolist() == [50, 10, 60, 30]
    assert found.area == 200
    turned = fill(outline, np.array([50.0, 10, 60, 30]), angle=180, canvas=(40, 100))
    np.testing.assert_allclose(visible_box(turned), [0, 10, 10, 30], atol=1e-9)


def test_what_lies_beside_the_canvas_is_degenerate():
    found = fill(canvas=(40, 8))
    assert found.parts.size == 0
    assert visible_box(found) is None
    assert not covered_pixels([found], (40, 8)).any()
    assert cover(found, np.ones((40, 8), bool)).area == 0


@pytest.mark.parametrize(("size", "kept"), [((2, 3), True), ((1, 3), False), ((2, 2), False)])
def test_box_with_a_side_below_a_pixel_is_degenerate(size, kept):
    # At (2, 3) the square is 1 pixel wide and high.
    assert (visible_box(fill(new_size=size)) is not None) == kept


def test_degenerate_boxes():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.99, 5], [3, 3, 8, 3.5]])
    assert is_degenerate(boxes).tolist() == [False, True, True]
    assert is_degenerate(np.zeros((0, 4))).tolist() == []


def test_empty_mask_is_degenerate():
    assert visible_box(fill(np.zeros(SIZE, np.uint8), angle=10)) is None


def test_covered_by_hand():
    hidden = np.zeros(SIZE, bool)
    hidden[:, 20:] = True  # the right half of the square
    left = cover(fill(), hidden)
    assert visible_box(left).tolist() == [10, 10, 20, 30]
    assert left.area == 200
    hidden = np.zeros(SIZE, bool)
    hidden[20:, 20:] = True  # a corner
    left = cover(fill(), hidden)
    box = visible_box(left)
    assert box.tolist() == [10, 10, 30, 30]
    assert silhouette_mask(left, box, 2).tolist() == [[255, 255], [255, 0]]
    assert cover(fill(), ~fill_all()).parts.all()


def fill_all():
    return np.ones(SIZE, bool)


def test_everything_covered_leaves_nothing():
    assert visible_box(cover(fill(), fill_all())) is None


def test_covered_pixels_are_those_at_least_half_full():
    outline = [np.array([[10.0, 10], [12.4, 10], [12.4, 12.6], [10, 12.6]])]
    covered = covered_pixels([fill(outline, np.array([10.0, 10, 12.4, 12.6]))], SIZE)
    assert np.argwhere(covered).tolist() == [[y, x] for y in (10, 11, 12) for x in (10, 11)]
    assert covered_pixels([], SIZE).shape == SIZE


def warped_mask(mask, source_map, size):
    """A full-size mask of the image file, sampled at the centres of a sample's pixels."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    column, row = (np.floor(a * x + b * y + c).astype(int) for a, b, c in source_map)
    inside = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
    return mask[np.where(inside, row, 0), np.where(inside, column, 0)].astype(bool) & inside


def test_masks_are_the_warped_masks_of_photographs(coco_mini):
    folder = coco_mini / "images" / "val"
    dataset = CocoDataset(coco_mini / "annotations" / "instances_val.json", folder)
    augmentation = Augmentation(rotation=25.0, crop=True, scale_jitter=(0.4, 1.8))
    overlaps, lost = [], 0
    for index in range(0, 50, 2):
        drawn = augmentation.draw(0, PlannedSample(0, index), (640,), len(dataset))
        sample = mapped_sample(dataset, drawn, 1000, 56, crop=True)
        size = tuple(sample["size"].tolist())
        annotations = dataset.annotations(dataset.image_ids[index])
        wanted = [warped_mask(dataset.coco.annToMask(one), sample["source_map"], size) for one in annotations]
        seen = [mask for mask in wanted if mask.any()]
        lost += len(wanted) - len(seen)
        names = ("",) * len(sample["labels"])
        truth = GroundTruth(sample["boxes"], sample["labels"], sample["masks"], names, size)
        if len(seen) != len(truth):
            continue  # one that has a few pixels may be kept or not; the others cannot be told apart then
        for mask, pasted, box in zip(seen, truth.paste_masks(), truth.boxes):
            rows, columns = np.nonzero(mask)
            ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # The original's own pixels are up to 1.8 pixels here.
            assert np.abs(ends - box).max() <= 2.0
            if min(box[2] - box[0], box[3] - box[1]) >= 30:
                overlaps.append((mask & pasted).sum() / (mask | pasted).sum())
    assert len(overlaps) > 50 and lost > 5
    assert np.mean(overlaps) > 0.97
    assert np.min(overlaps) > 0.85
