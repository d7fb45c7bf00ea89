"""RPN, box head and mask head: order of outputs, shapes, no RoIs, the class of a mask."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.models.box_head import BoxHead
from keras_mrcnn.models.mask_head import MaskHead
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


def test_rpn_convolutions_follow_each_other():
    rpn = RPN(4, 1, convolutions=3)
    rpn(MAPS)
    centre = np.zeros((3, 3, 4, 4), np.float32)
    centre[1, 1] = np.eye(4)
    for conv, (factor, bias) in zip(rpn.convs, ((2, 1), (-1, 10), (3, 0))):
        conv.set_weights([factor * centre, np.full(4, bias)])
    rpn.objectness.set_weights([np.float32([[1], [0], [0], [0]])[None, None], np.zeros(1)])
    fmap = tf.fill([1, 1, 3, 4], 1.0) * tf.constant([-3.0, 0.5, 7.0])[None, None, :, None]
    # relu(2 x + 1), then relu(10 - x), then 3 x
    assert rpn([fmap])[0][0].numpy().tolist() == [[30, 24, 0]]


def test_box_head_shapes_and_order():
    head = BoxHead(2, channels=8)
    pooled = tf.constant(uniform("pooled", (2, 5, 3, 3, 4)))
    head(pooled)
    head.deltas.set_weights([np.zeros((8, 12)), np.arange(12)])
    class_logits, deltas = head(pooled)
    assert class_logits.shape == (2, 5, 3) and deltas.shape == (2, 5, 3, 4)
    assert deltas[1, 4].numpy().tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def pass_on(conv, factor, channels):
    """Makes a 3x3 `ConvNorm` with a frozen batch norm multiply its input."""
    centre = np.zeros((3, 3, channels, channels), np.float32)
    centre[1, 1] = np.eye(channels)
    conv.set_weights([centre, *(np.full(channels, value) for value in (factor, 0, 0, 0.75))])


def test_box_head_with_convolutions_and_norms():
    head = BoxHead(2, channels=8, dense_layers=1, convolutions=3, conv_channels=4, norm="frozen_bn", epsilon=0.25)
    pooled = tf.constant(uniform("pooled", (2, 5, 3, 3, 4)))
    plain = BoxHead(2, channels=8, dense_layers=1)
    head(pooled), plain(pooled)
    assert [conv.norm.epsilon for conv in head.convs] == [0.25] * 3 and plain.convs == []
    for conv, factor in zip(head.convs, (2, 3, 0.5)):
        pass_on(conv, factor, 4)
    for layer, other in ((head.dense[0], plain.dense[0]), (head.classes, plain.classes), (head.deltas, plain.deltas)):
        layer.set_weights(other.get_weights())
    for ours, expected in zip(head(pooled), plain(3 * tf.nn.relu(pooled))):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


LABELS = tf.constant([[0, 3, 2, 1, 1], [1, 0, 3, 3, 2]])


def test_mask_head_with_norms():
    head, plain = MaskHead(3, 4, convolutions=2, norm="frozen_bn", epsilon=0.25), MaskHead(3, 4, convolutions=0)
    pooled = tf.constant(uniform("pooled", (2, 5, 3, 3, 4)))
    head(pooled, LABELS), plain(pooled, LABELS)
    for conv, factor in zip(head.convs, (2, 3)):
        pass_on(conv, factor, 4)
    for layer, other in ((head.upsample, plain.upsample), (head.logits, plain.logits)):
        layer.set_weights(other.get_weights())
    np.testing.assert_allclose(head(pooled, LABELS), plain(6 * tf.nn.relu(pooled), LABELS), rtol=1e-4, atol=1e-5)


def test_mask_head_gives_the_mask_of_each_class():
    head, pooled = MaskHead(3, 8, convolutions=1), tf.constant(uniform("pooled", (2, 5, 3, 3, 4)))
    head(pooled, LABELS)
    head.upsample.bias.assign(uniform("upsample bias", (8,)))
    head.logits.bias.assign(uniform("logits bias", (4,)))
    found = head(pooled, LABELS)
    # The same layer after layer, for all classes.
    x = tf.nn.relu(head.convs[0](tf.reshape(pooled, [10, 3, 3, 4])))
    every = head.logits(tf.nn.relu(head.upsample(x)))
    for roi, label in enumerate(LABELS.numpy().ravel()):
        np.testing.assert_allclose(found[roi // 5, roi % 5], every[roi, :, :, label], atol=1e-5)


@pytest.mark.parametrize("make", [BoxHead, MaskHead])
def test_statistics_of_heads_move_in_training_only(make):
    head = make(2, convolutions=2, norm="bn")
    pooled = tf.constant(uniform("pooled", (1, 2, 3, 3, 4), 1, 2))
    inputs = [pooled] if make is BoxHead else [pooled, tf.constant([[1, 2]])]
    head(*inputs)
    assert not any(conv.norm.moving_mean.numpy().any() for conv in head.convs)
    head(*inputs, training=True)
    assert all(conv.norm.moving_mean.numpy().any() for conv in head.convs)
    head.trainable = False
    before = head.get_weights()
    head(*inputs, training=True)
    assert all((old == new).all() for old, new in zip(before, head.get_weights()))


def test_each_roi_is_on_its_own():
    pooled = tf.constant(uniform("pooled", (2, 5, 2, 2, 4)))
    box_head, mask_head = BoxHead(2, channels=8), MaskHead(2, channels=4, convolutions=1)
    labels = LABELS % 3
    for whole, part in (
        *zip(box_head(pooled), box_head(pooled[1:, 2:4])),
        (mask_head(pooled, labels), mask_head(pooled[1:, 2:4], labels[1:, 2:4])),
    ):
        np.testing.assert_allclose(whole[1:, 2:4], part, atol=1e-5)


@pytest.mark.parametrize("convolutions", [0, 4])
def test_mask_head_doubles_the_side(convolutions):
    logits = MaskHead(3, channels=4, convolutions=convolutions)(tf.zeros([2, 5, 14, 14, 4]), LABELS)
    assert logits.shape == (2, 5, 28, 28) and logits.dtype == tf.float32


def test_box_head_without_rois():
    class_logits, deltas = BoxHead(2, channels=8)(tf.zeros([2, 0, 7, 7, 4]))
    assert class_logits.shape == (2, 0, 3) and deltas.shape == (2, 0, 3, 4)


def test_classes_do_not_compete_for_masks():
    head, pooled = MaskHead(2, channels=4, convolutions=0), tf.constant(uniform("pooled", (1, 1, 3, 3, 4)))
    head(pooled, tf.constant([[1]]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.sigmoid(head(pooled, tf.constant([[1]]))))
    gradient = tf.convert_to_tensor(tape.gradient(total, head.logits.kernel)).numpy()
    assert gradient[..., 1].any() and not gradient[..., [0, 2]].any()
