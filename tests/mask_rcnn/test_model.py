"""The whole model: contract of its outputs, batches, nothing found, necks, freezing, settings."""

from __future__ import annotations

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import fill, golden_config, golden_model, inputs, small_config

from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.mask_rcnn.model import MaskRCNN


@pytest.fixture(scope="module")
def small():
    return fill(MaskRCNN(small_config()))


def assert_contract(outputs, batch, detections, sizes, num_classes):
    assert set(outputs) == {"boxes", "scores", "labels", "valid", "masks"}
    assert outputs["boxes"].shape == (batch, detections, 4)
    assert outputs["masks"].shape == (batch, detections, 28, 28)
    values = {name: value.numpy() for name, value in outputs.items()}
    assert {name: value.dtype.name for name, value in values.items()} == {
        "boxes": "float32", "scores": "float32", "masks": "float32", "labels": "int32", "valid": "int32"
    }  # fmt: skip
    for image, (height, width) in enumerate(sizes):
        valid = values["valid"][image]
        boxes, scores = values["boxes"][image], values["scores"][image]
        labels, masks = values["labels"][image], values["masks"][image]
        assert ((labels[:valid] >= 1) & (labels[:valid] <= num_classes)).all()
        assert (np.diff(scores) <= 0).all()
        assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        assert (masks >= 0).all() and (masks <= 1).all() and masks[:valid].any(axis=(1, 2)).all()
        for padding in (boxes[valid:], scores[valid:], labels[valid:], masks[valid:]):
            assert not padding.any()


def test_outputs_of_two_images_of_different_sizes():
    batch = inputs(96, 128, ((96, 128), (60, 100)))
    outputs = golden_model()(batch)
    assert_contract(outputs, 2, 30, ((96, 128), (60, 100)), 3)
    assert (outputs["valid"].numpy() > 3).all()


def test_each_image_alone_gives_what_it_gives_in_the_batch():
    batch = inputs(96, 128, ((96, 128), (60, 100), (96, 64)))
    together = golden_model()(batch)
    for image in range(3):
        alone = golden_model()({name: value[image : image + 1] for name, value in batch.items()})
        assert int(alone["valid"][0]) == int(together["valid"][image]) > 0
        for name in ("boxes", "scores", "masks"):
            np.testing.assert_allclose(together[name][image], alone[name][0], atol=2e-3, err_msg=name)


def test_graph_with_open_sizes_gives_the_same():
    model = golden_model()
    signature = {
        "images": tf.TensorSpec([None, None, None, 3], tf.float32), "image_sizes": tf.TensorSpec([None, 2], tf.int32)
    }  # fmt: skip
    traced = tf.function(model.call, input_signature=[signature])
    for batch in (inputs(64, 96), inputs(96, 64, ((96, 64),))):
        eager, graph = model(batch), traced(batch)
        for name, value in eager.items():
            np.testing.assert_allclose(graph[name], value, atol=2e-3, err_msg=name)


def test_nothing_found_is_valid_zero_and_zero_masks():
    model = fill(MaskRCNN(golden_config(score_threshold=1.0)))
    for training in (False, True):
        outputs = model(inputs(), training=training)
        assert outputs["valid"].numpy().tolist() == [0, 0]
        assert_contract(outputs, 2, 30, ((64, 96), (50, 70)), 3)


def test_one_image_with_detections_and_one_without():
    # An image one pixel wide leaves no proposal of a size worth detecting.
    batch = inputs(64, 96, ((64, 96), (1, 1)))
    outputs = golden_model()(batch)
    assert_contract(outputs, 2, 30, ((64, 96), (1, 1)), 3)
    assert int(outputs["valid"][0]) > 0


def test_training_only_keeps_more_proposals(small):
    batch = inputs()
    features = small.extract_features(batch["images"])
    for training, count in ((False, 20), (True, 30)):
        proposals = small.propose(features, batch["images"], batch["image_sizes"], training=training)
        assert proposals.boxes.shape == (2, count, 4)


def test_steps_strung_together_are_the_call(small):
    batch = inputs()
    features = small.extract_features(batch["images"])
    proposals = small.propose(features, batch["images"], batch["image_sizes"])
    detections = small.predict_boxes(features, proposals, batch["image_sizes"])
    masks = small.predict_masks(features, detections)
    outputs = small(batch)
    np.testing.assert_allclose(outputs["masks"], masks, atol=1e-5)
    np.testing.assert_allclose(outputs["boxes"], detections.boxes, atol=1e-3)


def test_c4_neck_with_nine_anchors_a_cell():
    model = fill(MaskRCNN(small_config(neck={"kind": "c4"})))
    batch = inputs()
    features = model.extract_features(batch["images"])
    assert [fmap.shape for fmap in features] == [(2, 4, 6, 32)]
    objectness, deltas, anchors = model.score_anchors(features, batch["images"])
    assert objectness[0].shape == (2, 4 * 6 * 9) and deltas[0].shape == (2, 216, 4) and anchors[0].shape == (216, 4)
    assert len(model.roi_features(features)) == 1
    assert_contract(model(batch), 2, 5, ((64, 96), (50, 70)), 2)


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "group_norm"])
def test_norms(norm):
    model = MaskRCNN(small_config(backbone={"norm": norm}))
    assert np.isfinite(model(inputs())["boxes"]).all()
    assert any("gamma" in variable.name for variable in model.backbone.trainable_weights)


def test_frozen_bn_is_not_trainable_and_its_settings_arrive(small):
    small.backbone.trainable = True
    assert not any("gamma" in v.name or "moving" in v.name for v in small.trainable_weights)
    model = MaskRCNN(small_config(backbone={"depth": 50, "stride_in": "1x1", "norm_epsilon": 1e-3}))
    first = model.backbone.stages[1][0].convs[0]
    assert first(tf.zeros([1, 8, 8, 32])).shape[1] == 4
    assert first.norm.epsilon == 1e-3


def test_trainable_flags_of_the_parts(small):
    parts = (small.backbone, small.neck, small.rpn, small.box_head, small.mask_head)
    counts = [len(part.trainable_weights) for part in parts]
    assert counts == [20, 16, 6, 8, 6] and sum(counts) == len(small.trainable_weights)
    for index, part in enumerate(parts):
        part.trainable = False
        assert len(small.trainable_weights) == sum(counts) - counts[index]
        part.trainable = True


def test_every_kernel_starts_with_values_of_its_own():
    kernels = [v.numpy() for v in MaskRCNN(small_config()).trainable_weights if len(v.shape) > 1]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="class_names is empty"):
        MaskRCNN(small_config(class_names=()))


def test_predict_is_not_compiled_by_xla_where_there_is_a_gpu(small, monkeypatch):
    gpu = types.SimpleNamespace(name="/physical_device:GPU:0", device_type="GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    plain = keras.Sequential([keras.layers.Input([1]), keras.layers.Dense(1)])
    assert bool(plain.jit_compile) == KERAS_3  # so Keras does ask for devices, and compiles where it can
    assert not small.jit_compile
