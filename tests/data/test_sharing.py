"""The shares of several processes together are the whole batches: nothing is lost, nothing comes twice."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data.pipeline import shared_batches, training_dataset, validation_dataset
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.sharing import Share
from keras_mrcnn.scenes.generator import generate_scenes

BATCH, BATCHES = 8, 4
SETTINGS = {"batch_size": BATCH, "min_size": (64, 80), "max_size": 160, "scale_jitter": (0.5, 2.0)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven scenes of different sizes, so that padding differs from image to image."""
    sides = {"height_range": (64, 140), "width_range": (64, 140)}
    folder = tmp_path_factory.mktemp("scenes")
    scenes = generate_scenes(folder, num_train=7, num_val=1, seed=3, workers=1, **sides)
    files = scenes.annotation_files["train"], scenes.image_folders["train"]
    return prepare_dataset(*files, folder / "prepared", mask_size=28)


def numpy_batches(dataset, count=None):
    return [tf.nest.map_structure(np.asarray, batch) for batch in (dataset if count is None else dataset.take(count))]


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_all_shares_together_are_the_batch(count, devices, piece):
    batch = tf.range(count * devices * piece)
    own = [Share(index, count, devices).of(batch).numpy().tolist() for index in range(count)]
    assert sum(own, []) == list(range(count * devices * piece))
    assert {len(rows) for rows in own} == {devices * piece}
    assert Share(0, count, devices).piece_size(len(batch)) == piece


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


def test_batch_of_a_validation_that_cannot_be_shared_is_refused(data):
    with pytest.raises(ValueError, match="data.batch_size 3 cannot be shared by 2 devices; use a multiple of 2"):
        validation_dataset(data, batch_size=3, min_size=64, max_size=120, share=Share(count=2))


def test_maps_are_padded_by_their_strides():
    # Images of 40 x 60 and 10 x 33 pixels: the whole batch is 64 x 64, so its maps of stride 16 are 4 x 4.
    sizes = tf.constant([[40, 60], [10, 33]])

    def make(place):
        size = -(-sizes[place[1]] // 16)
        return {"maps": tf.ones([size[0], size[1], 5]), "gt_labels": tf.ones([1], tf.int32), "row": place[1]}

    plan = tf.data.Dataset.from_tensors(tf.constant([[0, 0], [0, 1]], tf.int64))
    pieces = shared_batches(plan, 2, make, lambda place: sizes[place[1]], {"maps": 16}, Share(devices=2))
    found = numpy_batches(pieces)
    assert [piece["row"].tolist() for piece in found] == [[0], [1]]
    assert [piece["maps"].shape for piece in found] == [(1, 4, 4, 5)] * 2
    assert [piece["maps"].sum() for piece in found] == [3 * 4 * 5, 1 * 3 * 5]
