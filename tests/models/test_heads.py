"""RPN, box head and mask head: order of outputs, shapes, no RoIs, class selection."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.models.box_head import BoxHead
from keras_mrcnn.models.mask_head import MaskHead, select_class
from keras_mrcnn.models.rpn import RPN

MAPS = [tf.constant(uniform(f"map {h}", (2, h, w, 4))) for h, w in ((4, 6), (2, 3))]


def test_rpn_shapes():
    objectness, deltas = RPN(4, 3)(MAPS)
    assert [level.shape for level in objectness] == [(2, 72), (2, 18)]
    assert [level.shape for level in deltas] == [(2, 72, 4), (2, 18, 4)]


def test_rpn_order_is_row_column_anchor():
    rpn = RPN(4, 2)
    rpn(MAPS)
    # The hidden map copies the input's first channel; the two anchors see it with factors 1 and 10.
    centre = np.zeros((3, 3, 4, 4), np.float32)
    centre[1, 1, 0, 0] = 1
    rpn.convs[0].set_weights([centre, np.zeros(4)])
    rpn.objectness.set_weights([np.float32([[1, 10]] + [[0, 0]] * 3)[None, None], np.zeros(2)])
    rpn.deltas.set_weights([np.zeros((1, 1, 4, 8)), np.arange(8)])
    fmap = tf.reshape(tf.range(6, dtype=tf.float32), [1, 2, 3, 1]) * tf.constant([1.0, 0, 0, 0])
    objectness, deltas = rpn([fmap])
    assert objectness[0][0].numpy().tolist() == [0, 0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50]
    assert deltas[0][0, :2].numpy().tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_box_head_shapes_and_order():
    head = BoxHead(2, channels=8)
    pooled = tf.constant(uniform("pooled", (2, 5, 3, 3, 4)))
    head(pooled)
    head.deltas.set_weights([np.zeros((8, 12)), np.arange(12)])
    class_logits, deltas = head(pooled)
    assert class_logits.shape == (2, 5, 3) and deltas.shape == (2, 5, 3, 4)
    assert deltas[1, 4].numpy().tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_each_roi_is_on_its_own():
    pooled = tf.constant(uniform("pooled", (2, 5, 2, 2, 4)))
    box_head, mask_head = BoxHead(2, channels=8), MaskHead(2, channels=4, convolutions=1)
    for head in (box_head, lambda x: (mask_head(x),)):
        for whole, part in zip(head(pooled), head(pooled[1:, 2:4])):
            np.testing.assert_allclose(whole[1:, 2:4], part, atol=1e-5)


@pytest.mark.parametrize("convolutions", [0, 4])
def test_mask_head_doubles_the_side(convolutions):
    logits = MaskHead(3, channels=4, convolutions=convolutions)(tf.zeros([2, 5, 14, 14, 4]))
    assert logits.shape == (2, 5, 28, 28, 4) and logits.dtype == tf.float32


def test_box_head_without_rois():
    class_logits, deltas = BoxHead(2, channels=8)(tf.zeros([2, 0, 7, 7, 4]))
    assert class_logits.shape == (2, 0, 3) and deltas.shape == (2, 0, 3, 4)


def test_select_class():
    logits = tf.constant(uniform("masks", (2, 3, 4, 4, 5)))
    labels = tf.constant([[0, 4, 2], [1, 1, 3]])
    chosen = select_class(logits, labels)
    for image in range(2):
        for roi in range(3):
            np.testing.assert_array_equal(chosen[image, roi], logits[image, roi, :, :, int(labels[image, roi])])


def test_classes_do_not_compete_for_masks():
    logits = tf.Variable(uniform("independent masks", (1, 1, 2, 2, 3)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.sigmoid(select_class(logits, tf.constant([[1]]))))
    gradient = tf.convert_to_tensor(tape.gradient(total, logits)).numpy()
    assert gradient[..., 1].all() and not gradient[..., [0, 2]].any()
