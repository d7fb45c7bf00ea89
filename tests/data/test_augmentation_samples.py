import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.data.augmentation import Augmentation, DrawnAugmentation
from keras_mrcnn.data.augmentation_samples import FIELDS, empty_sample, field_shape, mapped_sample, resized_sample
from keras_mrcnn.data.batching import PlannedSample
from keras_mrcnn.data.coco import CocoDataset

SEEDS = np.array([1, 2], np.int32)


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.fixture
def pair(tmp_path):
    """Two images of 40 x 40: 0 has a square of 20 in its middle and one of 2, 1 a square of 20 and a crowd."""
    annotations = [
        (0, 1, [10, 10, 20, 20], square(10, 10, 20), 0),
        (0, 1, [2, 35, 2, 2], square(2, 35, 2), 0),
        (1, 2, [0, 0, 20, 20], square(0, 0, 20), 0),
        (1, 2, [30, 30, 10, 10], {"size": [40, 40], "counts": [1200, 400]}, 1),
    ]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 40} for i in (0, 1)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": 1, "segmentation": s, "iscrowd": crowd}
            for n, (i, c, b, s, crowd) in enumerate(annotations, start=1)
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    for number in (0, 1):
        Image.fromarray(np.full((40, 40, 3), 50 + 100 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return CocoDataset(content, tmp_path)


def shown(index=0, **changes):
    return DrawnAugmentation(index=index, seeds=SEEDS, min_size=40, **changes)


def mapped(dataset, drawn, crop=False, mask_size=2):
    return mapped_sample(dataset, drawn, 80, mask_size, crop)


def assert_fits_fields(sample, mask_size):
    assert list(sample) == list(FIELDS)
    for name, (dtype, _) in FIELDS.items():
        value = np.asarray(sample[name])
        assert value.dtype == dtype.as_numpy_dtype, name
        wanted = field_shape(name, 3, mask_size)
        assert len(wanted) == value.ndim and all(w in (None, s) for w, s in zip(wanted, value.shape)), name


@pytest.mark.parametrize("mask_size", [0, 4])
def test_types_and_shapes(pair, mask_size):
    assert_fits_fields(empty_sample(3, mask_size), mask_size)
    assert_fits_fields(resized_sample(pair, shown(), 80, mask_size), mask_size)
    assert_fits_fields(mapped(pair, shown(), mask_size=mask_size), mask_size)
    assert_fits_fields(mapped(pair, shown(pasted=shown(1)), mask_size=mask_size), mask_size)


def test_resized_as_a_whole(pair):
    sample = resized_sample(pair, shown(jitter=2.0), 80, 2)
    assert sample["size"].tolist() == [80, 80]
    assert sample["boxes"].tolist() == [[20, 20, 60, 60], [4, 70, 8, 74]]
    assert sample["dropped"] == 0


def test_objects_below_a_pixel_are_dropped_and_counted(pair):
    sample = resized_sample(pair, shown(jitter=0.45), 80, 2)
    assert sample["size"].tolist() == [18, 18]
    assert len(sample["boxes"]) == len(sample["labels"]) == len(sample["masks"]) == 1
    assert sample["dropped"] == 1
    assert mapped(pair, shown(jitter=0.45))["dropped"] == 1


def test_mapped_without_a_change_is_the_resized_sample(pair):
    drawn = shown(jitter=1.5)
    plain, found = resized_sample(pair, drawn, 80, 4), mapped(pair, drawn, mask_size=4)
    for name in FIELDS.keys() - {"source_map"}:
        np.testing.assert_array_equal(found[name], plain[name], err_msg=name)
    np.testing.assert_allclose(found["source_map"], [[2 / 3, 0, 0], [0, 2 / 3, 0]])


def test_crop_by_hand(pair):
    # Twice the size, of which the canvas of 40 x 40 shows columns 40..79 and rows 20..59.
    sample = mapped(pair, shown(jitter=2.0, place=(0.999, 0.5)), crop=True)
    assert sample["size"].tolist() == [40, 40]
    assert sample["boxes"].tolist() == [[0, 0, 20, 40]]
    assert sample["dropped"] == 1
    np.testing.assert_allclose(sample["source_map"], [[0.5, 0, 20], [0, 0.5, 10]])


def test_smaller_images_are_not_enlarged_by_a_crop(pair):
    sample = mapped(pair, shown(jitter=0.5), crop=True)
    assert sample["size"].tolist() == [20, 20]
    assert sample["boxes"].tolist() == [[5, 5, 15, 15], [1, 17.5, 2, 18.5]]


def test_half_turn_by_hand(pair):
    sample = mapped(pair, shown(angle=180.0))
    np.testing.assert_allclose(sample["boxes"], [[10, 10, 30, 30], [36, 3, 38, 5]], atol=1e-5)


def test_pasted_objects_cover_others(pair):
    sample = mapped(pair, shown(pasted=shown(1)))
    assert sample["labels"].tolist() == [1, 1, 2]
    assert sample["boxes"].tolist() == [[10, 10, 30, 30], [2, 35, 4, 37], [0, 0, 20, 20]]
    assert sample["masks"].tolist() == [[[0, 255], [255, 255]], [[255, 255], [255, 255]], [[255, 255], [255, 255]]]
    wanted = np.zeros((40, 40), bool)
    wanted[:20, :20] = True  # not the crowd
    np.testing.assert_array_equal(sample["covered"], wanted)
    assert sample["dropped"] == 0
    assert (sample["pasted_image"] == 150).all()


def test_boxes_are_of_what_is_left(pair):
    # Mirrored, the pasted square covers columns 20..39.
    sample = mapped(pair, shown(pasted=shown(1, flip=True)))
    assert sample["boxes"].tolist() == [[10, 10, 30, 30], [2, 35, 4, 37], [20, 0, 40, 20]]
    assert sample["masks"][0].tolist() == [[255, 0], [255, 255]]
    half = mapped(pair, shown(pasted=shown(1, jitter=1.25, place=(0.0, 0.999))))
    # 50 x 50, its lower edge on that of the canvas: the square of 25 x 25 covers rows -10..14.
    assert half["boxes"].tolist() == [[10, 10, 30, 30], [2, 35, 4, 37], [0, 0, 25, 15]]


def test_what_pasted_objects_hide_is_dropped_and_counted(pair):
    # At twice the size the pasted square fills the canvas.
    sample = mapped(pair, shown(pasted=shown(1, jitter=2.0)))
    assert sample["labels"].tolist() == [2]
    assert sample["dropped"] == 2


def test_object_of_which_too_little_is_left_is_dropped(pair):
    # The pasted square covers columns 0..28 and rows 0..29: of 400 pixels a 20th is left, one column.
    sample = mapped(pair, shown(pasted=shown(1, jitter=1.5, place=(1.5 / 21, 0.0))))
    assert sample["boxes"].tolist() == [[29, 10, 30, 30], [2, 35, 4, 37], [0, 0, 29, 30]]
    # All twice as large: one column is a 40th.
    sample = mapped(pair, shown(jitter=2.0, pasted=shown(1, jitter=3.0, place=(1.5 / 41, 0.0))))
    assert sample["boxes"].tolist() == [[4, 70, 8, 74], [0, 0, 59, 60]]
    assert sample["dropped"] == 1


def test_pasted_objects_beside_the_canvas_count_as_dropped(pair):
    drawn = shown(pasted=shown(1, jitter=2.0, place=(0.999, 0.999)))  # all that shows is its lower right part
    sample = mapped(pair, drawn)
    assert sample["labels"].tolist() == [1, 1]
    assert sample["dropped"] == 1
    assert not sample["covered"].any()


def test_images_without_objects(tiny_coco):
    dataset = CocoDataset(*tiny_coco[:2])
    empty = dataset.image_ids.index(9)
    sample = mapped(dataset, shown(empty, angle=10.0))
    assert sample["boxes"].shape == (0, 4) and sample["masks"].shape == (0, 2, 2)
    sample = mapped(dataset, shown(0, pasted=shown(empty)))
    assert len(sample["labels"]) == 2 and not sample["covered"].any()


def test_which_objects_are_pasted_depends_on_the_seeds_alone(pair):
    chosen = []
    for number in range(20):
        other = shown(0, place=(0.5, 0.5))._replace(seeds=np.array([7, number], np.int32))
        one, again = (mapped(pair, shown(1, pasted=other)) for _ in range(2))
        np.testing.assert_array_equal(one["boxes"], again["boxes"])
        chosen.append([box for box in one["boxes"].tolist() if box[0] in (2, 10)])
    # One of the two, the other, or both in either order.
    assert len({str(boxes) for boxes in chosen}) == 4


def test_some_objects_of_the_other_image_are_pasted_never_none(coco_mini):
    folder = coco_mini / "images" / "val"
    dataset = CocoDataset(coco_mini / "annotations" / "instances_val.json", folder)
    augmentation = Augmentation(copy_paste=1.0, flip=0.0)
    counts = []
    for index in range(6):
        drawn = augmentation.draw(0, PlannedSample(0, index), (128,), len(dataset))
        sample = mapped(dataset, drawn)
        own, other = (len(dataset.annotations(dataset.image_ids[i])) for i in (index, drawn.pasted.index))
        pasted = len(sample["labels"]) + sample["dropped"] - own
        assert 1 <= pasted <= other
        counts.append((pasted, other))
    assert any(pasted < other for pasted, other in counts)


@pytest.mark.parametrize(
    "segmentation",
    [[[1.0, 2.0, 3.0]], [], None, {"size": [5, 5], "counts": [0, 25]}, {"size": [40, 60], "counts": None}],
)
def test_bad_segmentation_is_named(tiny_coco, segmentation):
    _, folder, content = tiny_coco
    dataset = CocoDataset(content, folder)
    dataset.coco.anns[2]["segmentation"] = segmentation
    with pytest.raises(ValueError, match="the segmentation of annotation 2 of image image3.png cannot be used"):
        mapped(dataset, shown(0))
