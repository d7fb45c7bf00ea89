"""The data of a validation: the same images every time, spread over the data set, shared by devices."""

import keras
import numpy as np
import pytest
from mixed_data import SIZES, VIEW, mixed_data
from small_training import small_model

from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.pipeline import single_samples, validation_dataset
from keras_mrcnn.data.sharing import Share
from keras_mrcnn.training.stages import BoxStage


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return mixed_data(tmp_path_factory.mktemp("mixed"))


def ids(batches):
    return [batch["image_ids"].numpy().tolist() for batch in batches]


def test_every_image_once_by_aspect_ratio_and_the_same_again(data):
    batches = validation_dataset(data, batch_size=3, **VIEW)
    assert [len(batch) for batch in ids(batches)] == [3, 3, 1] and int(batches.cardinality()) == 3
    order = sum(ids(batches), [])
    ratios = [SIZES[image_id - 1][1] / SIZES[image_id - 1][0] for image_id in order]
    assert sorted(order) == data.image_ids.tolist() and ratios == sorted(ratios)
    for first, second in zip(batches, batches):
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_images_are_as_in_training_without_augmentation(data):
    places = np.array([(0, row) for row in range(len(data))])
    expected = {int(batch["image_ids"][0]): batch for batch in single_samples(data, places, Sampling(**VIEW))}
    for batch in validation_dataset(data, batch_size=1, **VIEW):
        for name, value in expected[int(batch["image_ids"][0])].items():
            np.testing.assert_array_equal(batch[name], value, err_msg=name)


def test_fewer_images_are_spread_evenly_and_more_come_again(data):
    chosen = sum(ids(validation_dataset(data, batch_size=1, images=3, **VIEW)), [])
    assert sorted(chosen) == [1, 3, 5]
    again = sum(ids(validation_dataset(data, batch_size=2, images=10, **VIEW)), [])
    assert set(again) == set(data.image_ids.tolist()) and len(again) == 10


def test_shares_are_the_pieces_of_whole_batches(data):
    whole = list(validation_dataset(data, batch_size=4, images=8, **VIEW))
    shares = [
        list(validation_dataset(data, batch_size=4, images=8, **VIEW, share=Share(index, 2, 2))) for index in range(2)
    ]
    for number, batch in enumerate(whole):
        pieces = [piece for share in shares for piece in share[2 * number : 2 * number + 2]]
        assert sum(ids(pieces), []) == batch["image_ids"].numpy().tolist()
        for row, piece in enumerate(pieces):
            np.testing.assert_array_equal(piece["images"][0], batch["images"][row])
    assert len(whole) == 2 and all(len(share) == 4 for share in shares)


def test_a_stage_validates_on_them(data):
    stage = BoxStage(small_model(min_size=64, max_size=160))
    stage.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    validation = validation_dataset(data, batch_size=2, with_masks=False, **VIEW)
    history = stage.fit(validation.repeat(), steps_per_epoch=1, validation_data=validation, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()


def test_nothing_to_validate_on_is_refused(data):
    with pytest.raises(ValueError, match="validation needs images: the data set has 7, images is 0"):
        validation_dataset(data, batch_size=2, images=0, **VIEW)
