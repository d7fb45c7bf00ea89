"""Every step of small networks against torchvision's, with the same weights: its first Mask R-CNN and its second."""

from __future__ import annotations

import golden_network as case
import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import golden, picture
from resizing import resize_image
from small_models import golden_model

from keras_mrcnn import losses
from keras_mrcnn.base.records import Detections
from keras_mrcnn.layers.detections import BOX_HEAD_WEIGHTS
from keras_mrcnn.layers.proposals import Proposals
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.weights.names import named_weights


@pytest.fixture(scope="module", params=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def steps(version):
    """All that our network makes of the golden images."""
    model, images, sizes = golden_model(version), tf.constant(case.images()), tf.constant(case.SIZES)
    body = model.backbone(images)
    features = model.extract_features(images)
    objectness, deltas, _ = model.score_anchors(features, images)
    proposals = model.propose(features, images, sizes)
    return {
        "model": model, "body": body, "features": features, "objectness": objectness, "deltas": deltas,
        "proposals": proposals, "detections": model.predict_boxes(features, proposals, sizes),
    }  # fmt: skip


@pytest.fixture(scope="module")
def expected(version):
    return golden(f"network_{version}")


def golden_proposals(expected):
    return Proposals(
        tf.stack([expected[f"proposals {i}"] for i in range(2)]), tf.ones([2, case.POST_NMS]), tf.constant([60, 60])
    )


def assert_thin(actual, wanted, name, tolerance=2e-4):
    np.testing.assert_allclose(case.thin(actual), wanted, atol=tolerance * max(1, np.abs(wanted).max()), err_msg=name)


def test_backbone_and_pyramid(steps, expected):
    for level, fmap in enumerate(steps["body"], start=2):
        assert_thin(fmap, expected[f"C{level}"], f"C{level}")
    for level, fmap in enumerate(steps["features"], start=2):
        assert_thin(fmap, expected[f"P{level}"], f"P{level}")


def test_rpn(steps, expected):
    assert_thin(tf.concat(steps["objectness"], axis=1), expected["objectness"], "objectness")
    assert_thin(tf.concat(steps["deltas"], axis=1), expected["rpn deltas"], "deltas")


def test_proposals(steps, expected):
    for image in range(2):
        wanted, found = expected[f"proposals {image}"], steps["proposals"].boxes[image].numpy()
        assert int(steps["proposals"].valid[image]) == len(wanted)
        distance = np.abs(wanted[:, None] - found[None]).max(axis=2).min(axis=1)
        assert distance.max() < 0.01


def test_box_head_on_torchvisions_proposals(steps, expected):
    model, proposals = steps["model"], golden_proposals(expected)
    class_logits, deltas = model.box_head(model.box_pool(model.roi_features(steps["features"]), proposals.boxes))
    np.testing.assert_allclose(tf.reshape(class_logits, [-1, 4]), expected["class logits"], atol=1e-3)
    assert_thin(deltas, expected["deltas"], "deltas")


def assert_same_detections(boxes, scores, labels, wanted_boxes, wanted_scores, wanted_labels):
    """Every detection has its counterpart; in any order, because near-equal scores may change places."""
    assert len(boxes) == len(wanted_boxes)
    distance = np.abs(wanted_boxes[:, None] - boxes[None]).max(axis=2)
    distance += 1000 * (wanted_labels[:, None] != labels[None])
    partner = distance.argmin(axis=1)
    assert len(set(partner)) == len(boxes)
    assert distance.min(axis=1).max() < 0.05
    np.testing.assert_allclose(scores[partner], wanted_scores, atol=1e-3)
    return partner


def test_detections_and_masks(steps, expected):
    model, found = steps["model"], steps["detections"]
    masks = model.predict_masks(steps["features"], found).numpy()
    wanted_masks = 1 / (1 + np.exp(-expected["mask logits"]))
    start = 0
    for image in range(2):
        count = int(found.valid[image])
        wanted = [expected[f"{name} {image}"] for name in ("boxes", "scores", "labels")]
        partner = assert_same_detections(*(value[image, :count].numpy() for value in found[:3]), *wanted)
        own = masks[image][partner][:, ::4, ::4]
        np.testing.assert_allclose(own, wanted_masks[start : start + count], atol=2e-3)
        start += count
    assert start == len(wanted_masks)


def test_from_a_picture_to_pasted_masks(version, expected):
    image = picture(50, 71)
    resized = image_ops.normalise(resize_image(image, case.MIN_SIZE, case.MAX_SIZE))
    size = tf.shape(resized)[:2]
    outputs = golden_model(version)({"images": image_ops.pad_to_multiple(resized)[None], "image_sizes": size[None]})
    count = int(outputs["valid"][0])
    boxes = image_ops.scale_boxes(outputs["boxes"][0, :count], size, tf.constant([50, 71])).numpy()
    scores, labels, masks = (outputs[name][0, :count].numpy() for name in ("scores", "labels", "masks"))
    wanted = [expected[f"whole {name}"] for name in ("boxes", "scores", "labels")]
    partner = assert_same_detections(boxes, scores, labels, *wanted)
    pasted = Detections(boxes, scores, labels, ("x",) * count, masks, (50, 71)).paste_masks()[partner]
    wanted_masks = np.unpackbits(expected["whole masks"])[: pasted.size].reshape(pasted.shape).astype(bool)
    assert wanted_masks.any()
    # Rounding of box corners to pixels and of scores near one half may move a few pixels.
    assert (pasted ^ wanted_masks).sum() < 0.005 * wanted_masks.sum()


def test_head_losses_and_gradients(steps, expected):
    model, targets = steps["model"], {name: tf.constant(value) for name, value in case.head_case().items()}
    features, labels = model.roi_features(steps["features"]), targets["labels"]
    variables = {name: entry for name, entry in named_weights(model).items() if f"gradient {name}" in expected}
    # All but the statistics of norms, which the loss does not train.
    left_out = [name for name in named_weights(model) if name.startswith("roi_heads") and name not in variables]
    assert len(variables) > 10 and all("running" in name for name in left_out)
    with tf.GradientTape() as tape:
        logits, deltas = model.box_head(model.box_pool(features, targets["rois"]))
        masks = model.mask_head(model.mask_pool(features, targets["rois"]), labels)
        values = [
            losses.classification_loss(logits, labels, 16.0),
            losses.box_loss(deltas, targets["rois"], targets["target_boxes"], labels, 16.0, weights=BOX_HEAD_WEIGHTS),
            losses.mask_loss(masks, targets["target_masks"], labels, 7.0),
        ]
        total = tf.add_n(values)
    np.testing.assert_allclose(values, expected["head losses"], rtol=1e-4)
    gradients = tape.gradient(total, [entry.variable for entry in variables.values()])
    for (name, entry), gradient in zip(variables.items(), gradients):
        gradient = case.thin(entry.to_torch(tf.convert_to_tensor(gradient).numpy()), 60)
        wanted = expected[f"gradient {name}"]
        np.testing.assert_allclose(gradient, wanted, atol=1e-3 * max(np.abs(wanted).max(), 1e-2), err_msg=name)
