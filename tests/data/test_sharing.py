"""The shares of several processes together are the whole batches: nothing is lost, nothing comes twice."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.pipeline import evaluation_dataset, training_dataset
from keras_mrcnn.data.sharing import Share, pad_pieces
from keras_mrcnn.scenes.generator import generate_scenes

BATCH, BATCHES = 8, 4
SETTINGS = {
    "batch_size": BATCH, "min_size": (64, 80), "max_size": 160, "mask_size": 28, "scale_jitter": (0.5, 2.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven scenes of different sizes, so that padding differs from image to image."""
    sides = {"height_range": (64, 140), "width_range": (64, 140)}
    scenes = generate_scenes(tmp_path_factory.mktemp("scenes"), num_train=7, num_val=1, seed=3, workers=1, **sides)
    return CocoDataset(scenes.annotation_files["train"], scenes.image_folders["train"])


def numpy_batches(dataset, count=None):
    return [tf.nest.map_structure(np.asarray, batch) for batch in (dataset if count is None else dataset.take(count))]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_places_of_all_shares_are_those_of_the_batches(count, devices, piece, start):
    batch_size = count * devices * piece
    numbers = range(start * devices * piece, (start + 2) * devices * piece)
    found = [Share(index, count, devices).place(number, batch_size) for index in range(count) for number in numbers]
    assert sorted(found) == list(range(start * batch_size, (start + 2) * batch_size))
    assert Share(0, count, devices).piece_size(batch_size) == piece


def test_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="data.batch_size 6 cannot be shared by 4 devices; use a multiple of 4"):
        Share(count=2, devices=2).piece_size(6)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize(("count", "devices"), [(2, 1), (1, 2), (2, 2)])
def test_pieces_are_the_whole_batches_cut_up(data, count, devices, crop):
    whole = numpy_batches(training_dataset(data, start_batch=2, crop=crop, **SETTINGS), BATCHES)
    size = BATCH // (count * devices)
    smaller = 0
    for index in range(count):
        share = Share(index, count, devices)
        stream = training_dataset(data, start_batch=2, crop=crop, share=share, **SETTINGS)
        assert stream.element_spec["images"].shape.as_list() == [size, None, None, 3]
        for number, piece in enumerate(numpy_batches(stream, BATCHES * devices)):
            batch, device = divmod(number, devices)
            first = (index * devices + device) * size
            expected = {name: value[first : first + size] for name, value in whole[batch].items()}
            for name in ("images", "image_sizes", "image_ids", "original_sizes", "seeds", "dropped"):
                np.testing.assert_array_equal(piece[name], expected[name], err_msg=name)
            rows = piece["gt_labels"].shape[1]
            for name in ("gt_boxes", "gt_labels", "gt_masks"):
                np.testing.assert_array_equal(piece[name], expected[name][:, :rows], err_msg=name)
            assert (expected["gt_labels"][:, rows:] == -1).all()
            smaller += tuple(piece["image_sizes"].max(axis=0) + 31) < tuple(piece["images"].shape[1:3])
    assert smaller, "every piece holds an image as large as the batch, so that the padding was not put to the test"


def test_every_image_is_shown_once_an_epoch(data):
    """Four workers, seven batches of four images: four epochs of seven images."""
    settings = {**SETTINGS, "batch_size": 4}
    together = collections.Counter()
    for index in range(4):
        stream = training_dataset(data, share=Share(index, 4), **settings)
        together.update(int(value) for piece in numpy_batches(stream, 7) for value in piece["image_ids"])
    whole = collections.Counter(
        int(value) for batch in numpy_batches(training_dataset(data, **settings), 7) for value in batch["image_ids"]
    )
    assert together == whole and sum(together.values()) == 28


@pytest.mark.parametrize("count", [1, 2, 5])
def test_workers_take_whole_evaluation_batches_in_turn(data, count):
    whole = numpy_batches(evaluation_dataset(data, batch_size=2))
    for index in range(count):
        own = numpy_batches(evaluation_dataset(data, batch_size=2, share=Share(index, count)))
        assert len(own) == len(whole[index::count])
        for mine, expected in zip(own, whole[index::count]):
            tf.nest.map_structure(np.testing.assert_array_equal, mine, expected)


def test_maps_are_padded_by_their_strides():
    pieces = tf.data.Dataset.from_tensor_slices({"maps": tf.ones([4, 1, 2, 3, 5]), "other": tf.zeros([4, 1])})
    sizes = {3: np.array([64, 32], np.int32), 4: np.array([33, 64], np.int32)}
    padded = pad_pieces(pieces, sizes.__getitem__, Share(devices=2), 3, {"maps": 16})
    shapes = [tuple(piece["maps"].shape) for piece in padded]
    assert shapes == [(1, 4, 3, 5)] * 2 + [(1, 3, 4, 5)] * 2  # never cut: three columns stay where two would do
    assert all(float(tf.reduce_sum(piece["maps"])) == 30.0 for piece in padded)
