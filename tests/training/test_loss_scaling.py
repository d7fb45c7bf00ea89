"""Training in float16: overflowing steps are left out, clipping sees true gradients, and every stage learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from one_weight import OneWeight, fit_one_weight
from small_training import endless, make_batch, small_config

from keras_mrcnn.config import StageConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.callbacks import NonFiniteLossError, StopOnNonFiniteLoss
from keras_mrcnn.training.checkpoint import restore_model, restore_optimizer, save_checkpoint
from keras_mrcnn.training.loss_scaling import hidden_variables, loss_scale, scale_losses
from keras_mrcnn.training.optimizers import SGD, make_optimizer
from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"rpn": RPNStage, "box": BoxStage, "mask": MaskStage}
FIRST_SCALE = 2.0**15


def test_overflowing_steps_change_no_weight_and_halve_the_scale():
    # The gradient is 4, and 4 * 2 ** 14 is more than float16 holds: two steps are left out, then all is well.
    steps = fit_one_weight(scale_losses(SGD(1.0)), [4.0] * 4)
    assert [weight for weight, _ in steps] == [0.0, 0.0, -4.0, -8.0]
    assert [scale for _, scale in steps] == [FIRST_SCALE / 2, FIRST_SCALE / 4, FIRST_SCALE / 4, FIRST_SCALE / 4]


def test_clipping_bounds_the_unscaled_gradient():
    steps = fit_one_weight(scale_losses(SGD(1.0, clip_norm=1.5)), [1.0, 4.0, 4.0, 4.0])
    assert [weight for weight, _ in steps] == [-1.0, -1.0, -1.0, -2.5]


def test_momentum_does_not_see_the_steps_that_are_left_out():
    steps = fit_one_weight(scale_losses(SGD(1.0, momentum=0.5)), [1.0, 4.0, 4.0, 4.0])
    assert [weight for weight, _ in steps] == [-1.0, -1.0, -1.0, -1.0 - 0.5 - 4.0]


def test_weight_decay_is_left_out_with_the_step():
    steps = fit_one_weight(scale_losses(SGD(1.0, weight_decay=0.5)), [1.0, 4.0, 1.0])
    assert [weight for weight, _ in steps] == [-1.0, -1.0, -1.5]


def test_two_devices_leave_out_a_step_that_overflows_on_one():
    """Keras 3's own loss scaling asks the first device only."""
    paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "one_weight.py")],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs = json.loads(done.stdout.splitlines()[-1])
    # Gradients of the two devices: 1 and 1, 1 and 4, 4 and 1 (both overflow once), 1 and 2; then the sum is clipped.
    assert runs["plain"] == [[-2.0, FIRST_SCALE], [-2.0, FIRST_SCALE / 2], [-2.0, FIRST_SCALE / 4],
                             [-5.0, FIRST_SCALE / 4]]  # fmt: skip
    assert [weight for weight, _ in runs["clipped"]] == [-1.5, -1.5, -1.5, -3.0]


def test_only_float16_scales_the_loss():
    for precision in ("float32", "mixed_bfloat16"):
        optimizer = make_optimizer(StageConfig(), 10, precision)
        assert loss_scale(optimizer) is None and hidden_variables(optimizer) == []
    model = OneWeight()
    optimizer = make_optimizer(StageConfig(optimizer="adamw"), 10, "mixed_float16")
    optimizer.build(model.trainable_variables)
    assert float(loss_scale(optimizer).numpy()) == FIRST_SCALE
    loss_scale(optimizer).assign(8.0)
    optimizer.build(model.trainable_variables)  # as `fit` does each time
    assert float(loss_scale(optimizer).numpy()) == 8.0


def half_precision_stage(name):
    keras.utils.set_random_seed(1)
    stage = STAGES[name](MaskRCNN(small_config(norm="bn"), "mixed_float16"))
    settings = StageConfig(learning_rate=0.02, warmup_steps=0, clip_norm=1.0, milestones=())
    # Eager: a few steps are faster without a graph.
    stage.compile(make_optimizer(settings, 100, "mixed_float16"), run_eagerly=True)
    return stage


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_learns_in_float16(name):
    stage = half_precision_stage(name)
    callbacks = [StopOnNonFiniteLoss(name)]
    history = stage.fit(endless(make_batch()), steps_per_epoch=2, epochs=4, callbacks=callbacks, verbose=0).history
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    assert all(weight.dtype in ("float32", tf.float32) for weight in stage.trainable_variables)


def test_box_arithmetic_and_losses_stay_in_float32():
    model, batch = MaskRCNN(small_config(), "mixed_float16"), make_batch()
    features = model.extract_features(batch["images"])
    assert {fmap.dtype for fmap in features} == {tf.float16}
    objectness, deltas = model.score_anchors(features, batch["images"])[:2]
    proposals = model.propose(features, batch["images"], batch["image_sizes"])
    detections = model.predict_boxes(features, proposals, batch["image_sizes"])
    for tensor in (*objectness, *deltas, proposals.boxes, proposals.scores, detections.boxes, detections.scores):
        assert tensor.dtype == tf.float32
    for stage in (kind(model) for kind in STAGES.values()):
        outputs = stage(batch, training=True)
        assert {value.dtype for value in outputs.values()} <= {tf.float32, tf.int32}
        assert {loss.dtype for loss in stage.stage_losses(outputs)} == {tf.float32}


def test_scale_and_its_count_are_in_the_checkpoint(tmp_path):
    def trained(stage, steps):
        stage.fit(endless(make_batch()), steps_per_epoch=steps, verbose=0)
        return stage

    stage = trained(half_precision_stage("mask"), 2)
    save_checkpoint(tmp_path / "checkpoint", stage, "mask", 1)
    again = half_precision_stage("mask")
    again.optimizer.build(again.trainable_variables)
    loss_scale(again.optimizer).assign(2.0)
    restore_model(tmp_path / "checkpoint", again.mask_rcnn)
    restore_optimizer(tmp_path / "checkpoint", again)
    for one, other in zip(trained(stage, 2).mask_rcnn.weights, trained(again, 2).mask_rcnn.weights):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert float(loss_scale(again.optimizer).numpy()) == float(loss_scale(stage.optimizer).numpy())


def test_gradients_that_overflow_at_every_scale_end_the_training():
    stage = half_precision_stage("mask")
    stage.optimizer.build(stage.trainable_variables)
    loss_scale(stage.optimizer).assign(1.0)
    with pytest.raises(NonFiniteLossError, match="of the mask stage overflow float16 in epoch 1, .* mixed_bfloat16"):
        stage.fit(endless(make_batch()), steps_per_epoch=1, callbacks=[StopOnNonFiniteLoss("mask")], verbose=0)
