"""The joint stage trains everything by the losses of the three stages; proposals are constants to it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import BACKBONE, changed, endless, make_batch, small_model, snapshot

from keras_mrcnn.training.joint_stage import JointStage
from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage

LOSSES = ("objectness_loss", "rpn_box_loss", "classification_loss", "box_loss", "mask_loss")


def joint_stage(model, eager=True):
    stage = JointStage(model)
    stage.compile(keras.optimizers.SGD(1e-3, momentum=0.9, weight_decay=0.1), run_eagerly=eager)
    return stage


def losses_and_gradients(stage, batch, variables, chosen=slice(None)):
    with tf.GradientTape(persistent=True) as tape:
        losses = stage.stage_losses(stage(batch, training=True))
        total = tf.add_n(losses[chosen])
    return [float(loss) for loss in losses], tape.gradient(total, variables)


def test_everything_is_trained_in_a_graph():
    model = small_model(norm="bn")
    before = snapshot(model)
    stage = joint_stage(model, eager=False)
    history = stage.fit(endless(make_batch()), steps_per_epoch=2, verbose=0).history
    assert changed(before, snapshot(model)) == set(before)
    assert set(history) == {"loss", *LOSSES}
    assert history["loss"][0] == pytest.approx(sum(history[name][0] for name in LOSSES), rel=1e-5)


def test_frozen_stages_of_the_backbone_stay_frozen():
    model = small_model(norm="bn", freeze_stages=2)
    before = snapshot(model)
    joint_stage(model).fit(endless(make_batch()), steps_per_epoch=1, verbose=0)
    frozen = tuple(f"{BACKBONE}{part}." for part in ("conv1", "bn1", "layer1"))
    assert changed(before, snapshot(model)) == {name for name in before if not name.startswith(frozen)}


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_losses_are_those_of_the_three_stages(neck):
    # Frozen norms, so that the features are the same in every stage.
    model, batch = small_model(neck=neck), make_batch((2, 3))
    expected = []
    for kind in (RPNStage, BoxStage, MaskStage):
        stage = kind(model)
        stage.freeze()
        expected += stage.stage_losses(stage(batch, training=True))
    losses, _ = losses_and_gradients(joint_stage(model), batch, [])
    np.testing.assert_allclose(losses, [float(loss) for loss in expected], rtol=1e-5)


def test_heads_teach_the_features_but_not_the_rpn():
    model = small_model()
    stage, batch = joint_stage(model), make_batch()
    backbone, rpn = model.backbone.trainable_variables, model.rpn.trainable_variables
    _, gradients = losses_and_gradients(stage, batch, [*backbone, *rpn], chosen=slice(2, None))
    assert all(gradient is None for gradient in gradients[len(backbone) :])
    assert all(np.any(gradient.numpy()) for gradient in gradients[: len(backbone)])
    for chosen in (slice(2, 4), slice(4, 5)):  # the box head, then the mask head
        _, gradients = losses_and_gradients(stage, batch, backbone[:1], chosen=chosen)
        assert np.any(gradients[0].numpy())


@pytest.mark.parametrize("objects", [(0, 0), (1, 0, 300)])
def test_losses_and_gradients_are_finite_with_any_number_of_objects(objects):
    stage = joint_stage(small_model())
    losses, gradients = losses_and_gradients(stage, make_batch(objects), stage.trainable_variables)
    assert np.isfinite(losses).all()
    for variable, gradient in zip(stage.trainable_variables, gradients):
        assert gradient is not None and np.isfinite(gradient.numpy()).all(), variable.name


def test_other_stages_can_follow_on_the_same_model():
    model = small_model()
    joint = joint_stage(model)
    mask = MaskStage(model)
    mask.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    assert len(mask.trainable_variables) == len(model.mask_head.trainable_variables)
    before = snapshot(model)
    joint.fit(endless(make_batch()), steps_per_epoch=1, verbose=0)
    assert any(name.startswith(BACKBONE) for name in changed(before, snapshot(model)))
