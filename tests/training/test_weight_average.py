"""The moving average of the weights: its numbers, what it leaves alone, and that a checkpoint brings it back."""

import keras
import numpy as np
import pytest
from small_training import BACKBONE, BOX_HEAD, NECK, RPN, changed, endless, make_batch, small_model, snapshot

from keras_mrcnn.training.checkpoint import restore_model, restore_optimizer, save_checkpoint
from keras_mrcnn.training.stages import BoxStage, RPNStage
from keras_mrcnn.training.weight_average import WeightAverage, take_average


def averaging_stage(kind=BoxStage, momentum=0.5, seed=0, **model):
    keras.utils.set_random_seed(seed)
    stage = kind(small_model(**model))
    stage.compile(keras.optimizers.SGD(1e-2, momentum=0.9), run_eagerly=True)
    stage.weight_average = WeightAverage(stage, momentum)
    return stage


def fit(stage, steps=2, callbacks=()):
    stage.fit(endless(make_batch()), steps_per_epoch=steps, callbacks=[stage.weight_average, *callbacks], verbose=0)


def test_average_by_hand():
    stage = averaging_stage(momentum=0.15)
    average, bias = stage.weight_average, stage.mask_rcnn.box_head.classes.bias
    index = next(index for index, weight in enumerate(average.weights) if weight is bias)
    expected = np.zeros(bias.shape)
    # The momentum of the first step is 1 / 10, that of the second 2 / 11, but no more than 0.15.
    for value, momentum in [(1.0, 0.1), (3.0, 0.15), (-2.0, 0.15)]:
        bias.assign(np.full(bias.shape, value))
        average.update()
        expected = momentum * expected + (1.0 - momentum) * value
        np.testing.assert_allclose(average.averages[index].numpy(), expected, rtol=1e-6)
    average.assign()
    np.testing.assert_allclose(bias.numpy(), expected, rtol=1e-6)


def test_the_model_gets_the_average_only_when_the_stage_ends():
    plain, stage = averaging_stage(), averaging_stage()
    plain.fit(endless(make_batch()), steps_per_epoch=3, verbose=0)
    before = snapshot(stage.mask_rcnn)
    fit(stage, steps=3)
    trained = snapshot(stage.mask_rcnn)
    assert changed(snapshot(plain.mask_rcnn), trained) == set()
    take_average(stage)
    averaged = snapshot(stage.mask_rcnn)
    assert changed(trained, averaged) == changed(before, trained) == {n for n in before if n.startswith(BOX_HEAD)}


def test_statistics_are_averaged_and_what_is_frozen_stays_to_the_bit():
    stage = averaging_stage(RPNStage, norm="bn", freeze_stages=3)
    before = snapshot(stage.mask_rcnn)
    fit(stage)
    trained = snapshot(stage.mask_rcnn)
    take_average(stage)
    averaged = snapshot(stage.mask_rcnn)
    assert all(name.startswith((BACKBONE, NECK, RPN)) for name in changed(before, averaged))
    moved = changed(trained, averaged)
    assert moved == changed(before, trained)
    assert any(name.endswith("running_mean") for name in moved)


def test_a_stage_without_average_ends_as_it_is():
    stage = averaging_stage()
    stage.weight_average = None
    before = snapshot(stage.mask_rcnn)
    take_average(stage)
    assert changed(before, snapshot(stage.mask_rcnn)) == set()


def test_a_resumed_stage_ends_with_the_same_average(tmp_path):
    stage = averaging_stage()
    fit(stage)
    save_checkpoint(tmp_path / "checkpoint", stage, "box", 1)
    again = averaging_stage(seed=1)
    restore_model(tmp_path / "checkpoint", again.mask_rcnn)
    restore_optimizer(tmp_path / "checkpoint", again)
    for one in (stage, again):
        fit(one)
        take_average(one)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()


def test_a_checkpoint_without_average_is_refused(tmp_path):
    stage = averaging_stage()
    average, stage.weight_average = stage.weight_average, None
    save_checkpoint(tmp_path / "checkpoint", stage, "box", 1)
    stage.weight_average = average
    with pytest.raises(ValueError, match="resume with the settings of the run"):
        restore_optimizer(tmp_path / "checkpoint", stage)
