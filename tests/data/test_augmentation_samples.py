import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mrcnn.config import load_config
from keras_mrcnn.data.augmentation import Augmentation, DrawnAugmentation
from keras_mrcnn.data.augmentation_samples import Sampling, make_sample
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.ops.images import denormalise

# Settings with which samples are cropped to the size without jitter, or rotated and nothing else, or pasted onto.
CROP, TURN = Augmentation(flip=0.0, crop=True), Augmentation(flip=0.0, rotation=180.0)
PASTE = Augmentation(flip=0.0, copy_paste=1.0)
PLAIN = Augmentation(flip=0.0)


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two images of 40 x 40: 0 has a square of 20 in its middle and one of 2, 1 a square of 20 and a crowd."""
    folder = tmp_path_factory.mktemp("pair")
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
        Image.fromarray(np.full((40, 40, 3), 50 + 100 * number, np.uint8)).save(folder / f"{number}.png")
    return prepare_dataset(content, folder, folder / "prepared", mask_size=2)


def shown(row=0, **changes):
    """The choices that change nothing, but for those that are given."""
    values = {
        "row": row, "seeds": (1, 2), "min_size": 40, "flip": False, "jitter": 1.0, "angle": 0.0, "place": (0.0, 0.0),
        "colours": (1.0, 1.0, 1.0), "pastes": False, "paste_row": 0, **changes,
    }  # fmt: skip
    kinds = (tf.int64, tf.int32, tf.int32, tf.bool, tf.float64, tf.float64, tf.float64, tf.float32, tf.bool, tf.int64)
    return DrawnAugmentation(*(tf.constant(value, kind) for value, kind in zip(values.values(), kinds)))


@dataclasses.dataclass(frozen=True)
class Chosen(Sampling):
    """`Sampling` whose choices a test has made."""

    own: DrawnAugmentation = None
    other: DrawnAugmentation = None

    def draw(self, dataset, place, pasted=False):
        return self.other if pasted else self.own


def sample(dataset, own, augmentation=PLAIN, other=None, with_masks=True):
    """The sample that is made with these choices; `other` is pasted onto it."""
    if other is not None:
        own = own._replace(pastes=tf.constant(True), paste_row=other.row)
    chosen = Chosen(40, 80, with_masks, augmentation=augmentation, own=own, other=other)
    made = make_sample(dataset, tf.stack([tf.constant(0, tf.int64), own.row]), chosen)
    fields = {name: value.numpy() for name, value in made.items()}
    return {**fields, "boxes": fields["gt_boxes"][fields["gt_labels"] > 0].tolist()}


def shows_pasted(fields):
    """Where an image of `pair` shows the other one, whose pixels are 150."""
    height, width = fields["image_sizes"]
    return denormalise(tf.constant(fields["images"][:height, :width])).numpy()[..., 0] == 150


@pytest.mark.parametrize("with_masks", [True, False])
@pytest.mark.parametrize(("augmentation", "other"), [(PLAIN, None), (TURN, None), (PASTE, shown(1))])
def test_types_and_shapes(pair, augmentation, other, with_masks):
    fields = sample(pair, shown(), augmentation, other, with_masks)
    count = 3 if other else 2
    side = 2 if with_masks else 0
    assert {name: (value.dtype, value.shape) for name, value in fields.items() if name != "boxes"} == {
        "images": (np.float32, (64, 64, 3)), "image_sizes": (np.int32, (2,)), "image_ids": (np.int64, ()),
        "original_sizes": (np.int32, (2,)), "gt_boxes": (np.float32, (count, 4)), "gt_labels": (np.int32, (count,)),
        "gt_masks": (np.uint8, (count, side, side)), "seeds": (np.int32, (2,)), "dropped": (np.int32, ()),
    }  # fmt: skip


def test_resized_as_a_whole(pair):
    fields = sample(pair, shown(jitter=2.0))
    assert fields["image_sizes"].tolist() == [80, 80]
    assert fields["original_sizes"].tolist() == [40, 40]
    assert fields["boxes"] == [[20, 20, 60, 60], [4, 70, 8, 74]]
    assert fields["dropped"] == 0
    assert fields["seeds"].tolist() == [1, 2]


def test_objects_below_a_pixel_are_dropped_and_counted(pair):
    for augmentation in (PLAIN, TURN):
        fields = sample(pair, shown(jitter=0.45), augmentation)
        assert fields["image_sizes"].tolist() == [18, 18]
        assert len(fields["gt_boxes"]) == len(fields["gt_labels"]) == len(fields["gt_masks"]) == 1
        assert fields["dropped"] == 1


@pytest.mark.parametrize("flip", [False, True])
def test_mapped_without_a_change_is_the_resized_sample(pair, flip):
    drawn = shown(jitter=1.5, flip=flip)
    plain, mapped = (sample(pair, drawn, augmentation) for augmentation in (PLAIN, TURN))
    for name in plain:
        np.testing.assert_allclose(mapped[name], plain[name], atol=1e-5, err_msg=name)


def test_crop_by_hand(pair):
    # Twice the size, of which the canvas of 40 x 40 shows columns 40..79 and rows 20..59.
    fields = sample(pair, shown(jitter=2.0, place=(0.999, 0.5)), CROP)
    assert fields["image_sizes"].tolist() == [40, 40]
    assert fields["boxes"] == [[0, 0, 20, 40]]
    assert fields["dropped"] == 1


def test_smaller_images_are_not_enlarged_by_a_crop(pair):
    fields = sample(pair, shown(jitter=0.5), CROP)
    assert fields["image_sizes"].tolist() == [20, 20]
    assert fields["boxes"] == [[5, 5, 15, 15], [1, 17.5, 2, 18.5]]


def test_half_turn_by_hand(pair):
    fields = sample(pair, shown(angle=180.0), TURN)
    np.testing.assert_allclose(fields["boxes"], [[10, 10, 30, 30], [36, 3, 38, 5]], atol=1e-5)


def test_pasted_objects_cover_others(pair):
    fields = sample(pair, shown(), PASTE, other=shown(1))
    assert fields["gt_labels"].tolist() == [1, 1, 2]
    assert fields["boxes"] == [[10, 10, 30, 30], [2, 35, 4, 37], [0, 0, 20, 20]]
    full = [[255, 255], [255, 255]]
    assert fields["gt_masks"].tolist() == [[[0, 255], [255, 255]], full, full]
    wanted = np.zeros((40, 40), bool)
    wanted[:20, :20] = True  # not the crowd
    np.testing.assert_array_equal(shows_pasted(fields), wanted)
    assert fields["dropped"] == 0


def test_boxes_are_of_what_is_left(pair):
    # Mirrored, the pasted square covers columns 20..39.
    fields = sample(pair, shown(), PASTE, other=shown(1, flip=True))
    assert fields["boxes"] == [[10, 10, 30, 30], [2, 35, 4, 37], [20, 0, 40, 20]]
    assert fields["gt_masks"][0].tolist() == [[255, 0], [255, 255]]
    half = sample(pair, shown(), PASTE, other=shown(1, jitter=1.25, place=(0.0, 0.999)))
    # 50 x 50, its lower edge on that of the canvas: the square of 25 x 25 covers rows -10..14.
    assert half["boxes"] == [[10, 10, 30, 30], [2, 35, 4, 37], [0, 0, 25, 15]]


def test_what_pasted_objects_hide_is_dropped_and_counted(pair):
    # At twice the size the pasted square fills the canvas.
    fields = sample(pair, shown(), PASTE, other=shown(1, jitter=2.0))
    assert fields["gt_labels"].tolist() == [2]
    assert fields["dropped"] == 2


def test_object_of_which_too_little_is_left_is_dropped(pair):
    # The pasted square covers columns 0..28 and rows 0..29: of 400 pixels a 20th is left, one column.
    fields = sample(pair, shown(), PASTE, other=shown(1, jitter=1.5, place=(1.5 / 21, 0.0)))
    assert fields["boxes"] == [[29, 10, 30, 30], [2, 35, 4, 37], [0, 0, 29, 30]]
    # All twice as large: one column is a 40th.
    fields = sample(pair, shown(jitter=2.0), PASTE, other=shown(1, jitter=3.0, place=(1.5 / 41, 0.0)))
    assert fields["boxes"] == [[4, 70, 8, 74], [0, 0, 59, 60]]
    assert fields["dropped"] == 1


def test_pasted_objects_beside_the_canvas_count_as_dropped(pair):
    other = shown(1, jitter=2.0, place=(0.999, 0.999))  # all that shows is its lower right part
    fields = sample(pair, shown(), PASTE, other)
    assert fields["gt_labels"].tolist() == [1, 1]
    assert fields["dropped"] == 1
    assert not shows_pasted(fields).any()


def test_images_without_objects(tiny):
    empty = tiny.image_ids.tolist().index(9)
    for augmentation, drawn in ((PLAIN, shown(empty)), (TURN, shown(empty, angle=10.0))):
        fields = sample(tiny, drawn, augmentation)
        assert fields["gt_labels"].tolist() == [-1] and fields["gt_masks"].shape == (1, 8, 8)
        assert not fields["gt_boxes"].any() and not fields["gt_masks"].any() and fields["dropped"] == 0
    plain, pasted = (sample(tiny, shown(0), PASTE, other) for other in (None, shown(empty)))
    assert len(pasted["boxes"]) == 2 and pasted["dropped"] == 0
    np.testing.assert_array_equal(plain["images"], pasted["images"])
    onto_empty = sample(tiny, shown(empty), PASTE, other=shown(0))
    assert 1 <= len(onto_empty["boxes"]) <= 2


def test_which_objects_are_pasted_depends_on_the_seeds_alone(pair):
    chosen = []
    for number in range(20):
        other = shown(0, place=(0.5, 0.5), seeds=(7, number))
        one, again = (sample(pair, shown(1), PASTE, other) for _ in range(2))
        np.testing.assert_array_equal(one["boxes"], again["boxes"])
        chosen.append([box for box in one["boxes"] if box[0] in (2, 10)])
    # One of the two, the other, or both in either order.
    assert len({str(boxes) for boxes in chosen}) == 4


def test_some_objects_of_the_other_image_are_pasted_never_none(photographs):
    sampling = Sampling(128, 213, augmentation=Augmentation(copy_paste=1.0, flip=0.0))
    make = tf.function(lambda place: make_sample(photographs, place, sampling), autograph=False)
    counts = []
    for row in range(6):
        place = tf.constant([0, row], tf.int64)
        fields, paste_row = make(place), int(sampling.draw(photographs, place).paste_row)
        own, other = (int(photographs.index["num_objects"][i]) for i in (row, paste_row))
        pasted = int(tf.math.count_nonzero(fields["gt_labels"] > 0)) + int(fields["dropped"]) - own
        assert 1 <= pasted <= other
        counts.append((pasted, other))
    assert any(pasted < other for pasted, other in counts)


def test_objects_of_other_classes_are_left_out(tiny):
    some = PreparedDataset(tiny.folder, class_names=["dog"])
    for augmentation in (PLAIN, TURN):
        fields = sample(some, shown(0), augmentation)
        assert fields["gt_labels"].tolist() == [1] and fields["boxes"] == [[10, 10, 30, 30]]


def test_grey_images_and_those_with_alpha(tiny):
    for channels in (1, 4):
        data = PreparedDataset(tiny.folder, channels=channels)
        for augmentation in (PLAIN, dataclasses.replace(TURN, colour_jitter=0.5)):
            fields = sample(data, shown(0, colours=(0.7, 1.2, 0.5)), augmentation)
            assert fields["images"].shape == (64, 64, channels)
            assert np.isfinite(fields["images"]).all() and fields["images"].std() > 0.1


def test_size_before_the_image_is_read_is_that_of_the_sample(tiny):
    for crop in (False, True):
        augmentation = Augmentation(flip=0.0, crop=crop, scale_jitter=(0.5, 2.0))
        sampling = Sampling((40, 56), 100, augmentation=augmentation)
        for row in range(4):
            place = tf.constant([3, row], tf.int64)
            size = make_sample(tiny, place, sampling)["image_sizes"].numpy().tolist()
            assert sampling.size(tiny, place).numpy().tolist() == size


def test_settings_of_a_run():
    config = load_config("coco-r50-fpn", ("data.rotation=5", "data.min_sizes=[640, 1400]", "train.seed=3"))
    sampling = Sampling.of(config, with_masks=False)
    assert sampling == Sampling((640, 1400), 1400, False, 3, Augmentation(rotation=5.0))
    plain = Sampling.of(load_config("coco-r50-fpn"))
    assert (plain.min_sizes, plain.max_size, plain.with_masks) == ((800,), 1333, True)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((), 80), r"min_size is \(\); it must be one positive number"),
        ((0, 80), "min_size is 0; it must be one positive number"),
        (((40, -1), 80), r"min_size is \(40, -1\); it must be one positive number"),
        (((40, 60), 50), "max_size is 50, less than min_size 60; raise it"),
    ],
)
def test_sizes_out_of_range_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        Sampling(*sizes)
