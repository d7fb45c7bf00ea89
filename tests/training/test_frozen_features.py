"""Maps and proposals of an image: the same in every batch, and no gradient through them."""

import numpy as np
import pytest
import tensorflow as tf
from mixed_data import VIEW, mixed_data
from small_training import small_model

from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.pipeline import single_samples
from keras_mrcnn.training.frozen_features import compute_features_and_proposals, features_and_proposals

ROWS = (0, 1, 5)  # 64 x 96, 64 x 160 and 64 x 64 pixels with their padding


@pytest.fixture(scope="module", params=["fpn", "c4"])
def model(request):
    return small_model(neck=request.param, min_size=64, max_size=160)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images of different sizes, each a batch of its own, and the three as one batch."""
    data = mixed_data(tmp_path_factory.mktemp("mixed"))
    alone = list(single_samples(data, np.array([(0, row) for row in ROWS]), Sampling(**VIEW)))
    width = max(one["images"].shape[2] for one in alone)
    together = [tf.pad(one["images"], [[0, 0], [0, 0], [0, width - one["images"].shape[2]], [0, 0]]) for one in alone]
    sizes = tf.concat([one["image_sizes"] for one in alone], axis=0)
    return alone, {"images": tf.concat(together, axis=0), "image_sizes": sizes}


def test_an_image_gives_the_same_in_any_batch(model, images):
    alone, together = images
    maps, proposals = compute_features_and_proposals(model, together["images"], together["image_sizes"])
    for place, one in enumerate(alone):
        own_maps, own_proposals = compute_features_and_proposals(model, one["images"], one["image_sizes"])
        for own, all_of_them in zip(own_proposals, proposals):
            np.testing.assert_array_equal(own[0], all_of_them[place])
        for own, fmap in zip(own_maps, maps):
            height, width = own.shape[1:3]
            np.testing.assert_array_equal(own[0], fmap[place, :height, :width])
            assert not np.any(fmap[place, height:]) and not np.any(fmap[place, :, width:])
    assert [fmap.shape[2] for fmap in maps] == [160 // stride for stride in model.box_pool.strides]


def test_one_image_gives_what_the_steps_of_the_model_give(model, images):
    one = images[0][0]
    features = model.extract_features(one["images"])
    expected = model.propose(features, one["images"], one["image_sizes"], training=True)
    maps, proposals = compute_features_and_proposals(model, one["images"], one["image_sizes"])
    assert len(maps) == len(model.box_pool.strides) and proposals.boxes.shape == (1, 30, 4)
    for ours, theirs in zip((*maps, *proposals), (*model.roi_features(features), *expected)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert int(proposals.valid[0]) > 0


def test_no_gradient_flows(model, images):
    together = images[1]
    with tf.GradientTape() as tape:
        tape.watch(together["images"])
        maps, proposals = features_and_proposals(model, together)
        total = tf.add_n([tf.reduce_sum(values) for values in (*maps, proposals.boxes, proposals.scores)])
    assert tape.gradient(total, together["images"]) is None


def test_what_was_computed_before_is_taken_out_of_the_batch(model):
    count = len(model.box_pool.strides)
    batch = {f"features_{level}": object() for level in range(count)}
    batch.update(proposals="boxes", proposal_scores="scores", proposal_count="valid", images=None)
    maps, proposals = features_and_proposals(model, batch)
    assert maps == [batch[f"features_{level}"] for level in range(count)]
    assert proposals == ("boxes", "scores", "valid")
