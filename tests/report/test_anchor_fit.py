import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.layers.anchors import AnchorGenerator
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.ops.boxes import pairwise_iou
from keras_mrcnn.report.anchor_fit import best_anchor_ious

GRIDS = {"fpn": (4, 8, 16, 32, 64), "c4": (16,)}


def make_config(neck="fpn", **rpn):
    return ModelConfig.model_validate(
        {"class_names": ["a"], "neck": {"kind": neck}, "rpn": rpn, "min_size": 128, "max_size": 192}
    )


def best_of_all_anchors(box, size, config):
    """The same by trying every anchor of the model."""
    resized = image_ops.resized_size(*map(int, size), config.min_size, config.max_size)
    padded = (resized.numpy() + 31) // 32 * 32
    maps = [tf.zeros([1, *-(-padded // stride), 1]) for stride in GRIDS[config.neck.kind]]
    anchors = tf.concat(AnchorGenerator(config.anchor_sizes, config.rpn.aspect_ratios)(maps, padded), axis=0)
    moved = image_ops.scale_boxes(tf.constant(box[None], tf.float32), tf.constant(size), resized)
    return float(tf.reduce_max(pairwise_iou(anchors, moved)))


def test_an_object_like_an_anchor():
    config = make_config(anchor_sizes=[[16], [32], [64], [128], [256]], aspect_ratios=[1.0])
    # The image is seen at its own size. P3 has anchors of 32 px every 8 px: one is at 40..72, 48..80.
    sizes = np.array([[128, 128]] * 3)
    boxes = np.array([[40, 48, 72, 80], [44, 48, 76, 80], [40, 48, 72, 64]], float)
    # The second is 4 px off to either side, the third covers half of the anchor.
    np.testing.assert_allclose(best_anchor_ious(boxes, sizes, config), [1.0, 28 / 36, 0.5])


def test_the_resize_counts():
    config = make_config(anchor_sizes=[[16], [32], [64], [128], [256]], aspect_ratios=[1.0])
    boxes = np.array([[80, 96, 144, 160]], float)
    np.testing.assert_allclose(best_anchor_ious(boxes, np.array([[256, 256]]), config), [1.0])


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_like_trying_all_anchors(neck):
    random = np.random.default_rng(4)
    config = make_config(neck)
    sizes = np.array([(130, 170), (97, 300), (250, 90), (160, 160)] * 3)
    corners = random.uniform(0, 0.7, (len(sizes), 2))
    sides = random.uniform(0.02, 0.3, (len(sizes), 2))
    boxes = np.concatenate([corners, corners + sides], axis=1) * sizes[:, [1, 0, 1, 0]]
    expected = [best_of_all_anchors(box, size, config) for box, size in zip(boxes, sizes)]
    np.testing.assert_allclose(best_anchor_ious(boxes, sizes, config), expected, atol=1e-5)


def test_no_objects():
    assert best_anchor_ious(np.zeros((0, 4)), np.zeros((0, 2), int), make_config()).shape == (0,)
