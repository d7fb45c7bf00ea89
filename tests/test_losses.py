"""The five losses: by hand, with padding, and torchvision's with their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import golden, loss_case

from keras_mrcnn import losses
from keras_mrcnn.ops.masks import crop_mask_targets

RPN, HEAD = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
BOX = tf.constant([[[0.0, 0.0, 10.0, 10.0]]])


def test_objectness_by_hand():
    logits, labels = tf.constant([[0.0, 2.0, 5.0]]), tf.constant([[1, 0, -1]])
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert float(losses.objectness_loss(logits, labels, 2.0)) == pytest.approx(expected, rel=1e-6)


def test_classification_by_hand():
    logits = tf.constant([[[0.0, 0.0, 0.0], [0.0, math.log(2), 0.0], [9.0, 9.0, 0.0]]])
    value = losses.classification_loss(logits, tf.constant([[0, 1, -1]]), 2.0)
    assert float(value) == pytest.approx((math.log(3) + math.log(2)) / 2, rel=1e-6)


def test_smooth_l1_by_hand():
    # Distances of 0.05 (square below 1/9) and 0.5 (straight above).
    deltas = tf.constant([[[0.05, 0.5, 0.0, 0.0]]])
    expected = 0.5 * 0.05**2 * 9 + 0.5 - 0.5 / 9
    value = losses.rpn_box_loss(deltas, BOX, BOX, tf.constant([[1]]), 1.0, weights=RPN)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(losses.rpn_box_loss(deltas, BOX, BOX, tf.constant([[1]]), 4.0, weights=RPN)) == pytest.approx(
        expected / 4, rel=1e-5
    )


def test_giou_by_hand():
    # The decoded box is the reference moved one width to the right: no overlap, hull = union, so GIoU is 0.
    value = losses.rpn_box_loss(
        tf.constant([[[1.0, 0.0, 0.0, 0.0]]]), BOX, BOX, tf.constant([[1]]), 1.0, weights=RPN, kind="giou"
    )
    assert float(value) == pytest.approx(1.0, abs=1e-6)


def test_box_loss_uses_the_deltas_of_the_true_class():
    deltas = np.full((1, 1, 3, 4), 7, np.float32)
    deltas[0, 0, 2] = 0
    for kind in ("smooth_l1", "giou"):
        value = losses.box_loss(tf.constant(deltas), BOX, BOX, tf.constant([[2]]), 1.0, weights=HEAD, kind=kind)
        assert float(value) == pytest.approx(0, abs=1e-6)
        wrong = losses.box_loss(tf.constant(deltas), BOX, BOX, tf.constant([[1]]), 1.0, weights=HEAD, kind=kind)
        assert float(wrong) > 0.1


def test_mask_loss_by_hand():
    logits = tf.constant(np.zeros((1, 2, 2, 2), np.float32))
    targets = tf.constant(np.float32([[[[0, 1], [1, 0]], [[1, 1], [1, 1]]]]))
    assert float(losses.mask_loss(logits, targets, tf.constant([[1, 0]]), 1.0)) == pytest.approx(math.log(2), rel=1e-6)


def test_rows_left_out_may_hold_anything():
    infinite, labels = np.inf, tf.constant([[1, -1]])
    assert float(losses.objectness_loss(tf.constant([[0.0, infinite]]), labels, 1.0)) == pytest.approx(math.log(2))
    logits = tf.constant([[[0.0, 0.0], [infinite, 0.0]]])
    assert float(losses.classification_loss(logits, labels, 1.0)) == pytest.approx(math.log(2))
    boxes, deltas = tf.concat([BOX, tf.zeros([1, 1, 4])], axis=1), tf.constant([[[0.0] * 4, [infinite] * 4]])
    assert float(losses.rpn_box_loss(deltas, boxes, boxes, labels, 1.0, weights=RPN)) == 0


def test_padding_with_huge_values_adds_nothing_and_gives_no_nan_gradient():
    labels = tf.constant([[1, -1]])
    deltas = tf.Variable([[[0.1, 0.1, 0.1, 0.1], [1e30, 1e30, 1e30, 1e30]]])
    boxes = tf.concat([BOX, tf.zeros([1, 1, 4])], axis=1)
    for kind in ("smooth_l1", "giou"):
        with tf.GradientTape() as tape:
            value = losses.rpn_box_loss(deltas, boxes, boxes, labels, 1.0, weights=RPN, kind=kind)
        gradient = tape.gradient(value, deltas).numpy()
        assert np.isfinite(value) and np.isfinite(gradient).all()
        assert gradient[0, 0].any() and not gradient[0, 1].any()


@pytest.mark.parametrize("labels", [[[0, 0]], [[-1, -1]]])
def test_no_positives(labels):
    labels, boxes = tf.constant(labels), tf.tile(BOX, [1, 2, 1])
    assert float(losses.rpn_box_loss(tf.ones([1, 2, 4]), boxes, boxes, labels, 0.0, weights=RPN)) == 0
    assert float(losses.box_loss(tf.ones([1, 2, 3, 4]), boxes, boxes, labels, 0.0, weights=HEAD)) == 0
    assert float(losses.mask_loss(tf.ones([1, 2, 4, 4]), tf.zeros([1, 2, 4, 4]), labels, 0.0)) == 0


def our_losses(case, target_masks):
    """All five, batch of one, in torchvision's order."""
    labels, references, target_boxes = (case[n][None] for n in ("labels", "references", "target_boxes"))
    objects = np.minimum(labels, 1)
    masks = tf.stack([case["mask_logits"][i, :, :, label] for i, label in enumerate(labels[0, :6])])[None]
    return {
        "objectness": losses.objectness_loss(case["objectness"][None], objects, 24.0),
        "rpn_box": losses.rpn_box_loss(case["rpn_deltas"][None], references, target_boxes, objects, 24.0, weights=RPN),
        "classification": losses.classification_loss(case["class_logits"][None], labels, 24.0),
        "box": losses.box_loss(case["deltas"][None], references, target_boxes, labels, 24.0, weights=HEAD),
        "mask": losses.mask_loss(masks, target_masks[None], labels[:, :6], 6.0),
    }


def test_values_and_gradients_agree_with_torchvision():
    case, expected = loss_case(), golden("losses")
    leaves = ("objectness", "rpn_deltas", "class_logits", "deltas", "mask_logits")
    case.update({name: tf.Variable(case[name]) for name in leaves})
    with tf.GradientTape() as tape:
        values = our_losses(case, expected["target_masks"])
        total = tf.add_n(list(values.values()))
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)
    for name, gradient in zip(leaves, tape.gradient(total, [case[name] for name in leaves])):
        wanted = expected[f"gradient {name}"]
        gradient = tf.convert_to_tensor(gradient).numpy()
        gradient = gradient[:, ::4, ::4] if name == "mask_logits" else gradient
        np.testing.assert_allclose(gradient, wanted, atol=1e-6, err_msg=name)


def test_mask_loss_with_our_own_targets_is_near_torchvisions():
    # Ours average the mask over each bin, torchvision's sample it at a few points: on blocks of 5 px they are close.
    # RoIAlign with aligned=False reads half a pixel to the lower right, which the RoIs make up for here.
    case, expected = loss_case(), golden("losses")
    whole_image = np.tile(np.float32([0, 0, 100, 100]), (1, 6, 1))
    compact = (case["gt_masks"] * 255).astype(np.uint8)[None]
    matched = np.arange(6, dtype=np.int32)[None]
    targets = crop_mask_targets(compact, whole_image, case["references"][None, :6] + 0.5, matched, 28)
    value = our_losses(case, targets[0])["mask"]
    np.testing.assert_allclose(value, expected["mask"], rtol=0.02)
