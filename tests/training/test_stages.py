"""Each stage trains its own part and leaves the rest as it is, to the bit; losses and gradients stay finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import (
    BACKBONE,
    BOX_HEAD,
    MASK_HEAD,
    NECK,
    RPN,
    changed,
    endless,
    make_batch,
    small_model,
    snapshot,
)

from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage, Stage

STAGES = {"rpn": RPNStage, "box": BoxStage, "mask": MaskStage}
TRAINED = {"rpn": (BACKBONE, NECK, RPN), "box": BOX_HEAD, "mask": MASK_HEAD}
FIRST_STAGES = ("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)


def compiled(stage, model, eager=False):
    stage = STAGES[stage](model)
    # Weight decay, as it acts on weights without any gradient. A few steps are faster without a graph.
    stage.compile(keras.optimizers.SGD(1e-3, momentum=0.9, weight_decay=0.1), run_eagerly=eager)
    return stage


def fit(stage, dataset=None, steps=2):
    return stage.fit(endless(make_batch()) if dataset is None else dataset, steps_per_epoch=steps, verbose=0).history


def names_under(model, prefixes):
    return {name for name in snapshot(model) if name.startswith(prefixes)}


@pytest.mark.parametrize("name", STAGES)
def test_stage_trains_all_of_its_part_and_nothing_else(name):
    model = small_model(norm="bn")
    before = snapshot(model)
    fit(compiled(name, model))
    assert changed(before, snapshot(model)) == names_under(model, TRAINED[name])


@pytest.mark.parametrize("freeze_stages", range(1, 6))
def test_backbone_stays_frozen_up_to_the_chosen_level(freeze_stages):
    model = small_model(norm="bn", freeze_stages=freeze_stages)
    before = snapshot(model)
    fit(compiled("rpn", model, eager=True), steps=1)
    frozen = tuple(f"{BACKBONE}{part}." for parts in FIRST_STAGES[:freeze_stages] for part in parts)
    assert changed(before, snapshot(model)) == names_under(model, TRAINED["rpn"]) - names_under(model, frozen)


def test_affine_parameters_and_statistics_of_frozen_batch_norms_never_change():
    model = small_model(norm="frozen_bn")
    before = snapshot(model)
    fit(compiled("rpn", model, eager=True), steps=1)
    norms = {name for name in before if ".bn" in name or "downsample.1" in name}
    assert len(norms) == 4 * 20  # the 20 convolutions of a ResNet-18
    assert changed(before, snapshot(model)) == names_under(model, TRAINED["rpn"]) - norms


def test_stages_can_take_turns_on_one_model():
    model = small_model(norm="bn", freeze_stages=2)
    stages = {name: compiled(name, model) for name in STAGES}
    frozen = tuple(f"{BACKBONE}{part}." for parts in FIRST_STAGES[:2] for part in parts)
    for name in ("mask", "rpn", "box", "rpn", "mask"):
        before = snapshot(model)
        fit(stages[name], steps=1)
        assert changed(before, snapshot(model)) == names_under(model, TRAINED[name]) - names_under(model, frozen)


def test_evaluate_changes_nothing():
    model = small_model(norm="bn")
    stage = compiled("rpn", model, eager=True)
    before = snapshot(model)
    losses = stage.evaluate(endless(make_batch()), steps=2, verbose=0, return_dict=True)
    assert all(np.isfinite(value) for value in losses.values())
    assert changed(before, snapshot(model)) == set()


@pytest.mark.parametrize("name", STAGES)
def test_shown_loss_is_the_sum_of_the_named_losses(name):
    stage = compiled(name, small_model(), eager=True)
    history = fit(stage)
    assert set(history) == {"loss", *stage.loss_names}
    assert history["loss"][0] == pytest.approx(sum(history[part][0] for part in stage.loss_names), rel=1e-6)


def test_shown_loss_starts_anew_with_each_epoch():
    stage = RPNStage(small_model())
    stage.compile(keras.optimizers.SGD(0.0), run_eagerly=True)  # nothing is learned: each epoch shows the same
    history = stage.fit(endless(make_batch()), steps_per_epoch=2, epochs=2, verbose=0).history
    assert history["loss"][0] == pytest.approx(history["loss"][1], rel=1e-6)


def test_a_stage_must_say_its_losses():
    with pytest.raises(NotImplementedError):
        Stage(small_model()).stage_losses({})


def losses_and_gradients(stage, batch):
    with tf.GradientTape() as tape:
        losses = stage.stage_losses(stage(batch, training=True))
        total = tf.add_n(losses)
    return [float(value) for value in losses], tape.gradient(total, stage.trainable_variables)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_losses_and_gradients_are_finite_with_any_number_of_objects(name, neck, box_loss):
    stage = compiled(name, small_model(neck=neck, box_loss=box_loss))
    for objects in [(0,), (0, 0), (300,), (1, 0, 300)]:
        losses, gradients = losses_and_gradients(stage, make_batch(objects))
        assert np.isfinite(losses).all(), objects
        for variable, gradient in zip(stage.trainable_variables, gradients):
            assert gradient is not None and np.isfinite(gradient.numpy()).all(), (objects, variable.name)


@pytest.mark.parametrize(("name", "index"), [("rpn", 1), ("box", 1), ("mask", 0)])
def test_images_without_objects_teach_no_box_and_no_mask(name, index):
    losses, gradients = losses_and_gradients(compiled(name, small_model()), make_batch((0, 0)))
    assert losses[index] == 0.0
    # They do teach what background is, but for the mask head, which sees objects only.
    assert any(np.any(gradient.numpy()) for gradient in gradients) == (name != "mask")


@pytest.mark.parametrize("name", STAGES)
def test_fit_takes_batches_of_different_sizes(name):
    batches = [make_batch((2, 3), side=64), make_batch((0, 0), side=96), make_batch((5, 0), side=32)]
    signature = {
        key: tf.TensorSpec([2, *[None] * (len(value.shape) - 1)], value.dtype) for key, value in batches[0].items()
    }
    signature["images"] = tf.TensorSpec([2, None, None, 3], tf.float32)
    signature["gt_masks"] = tf.TensorSpec([2, None, 28, 28], tf.uint8)
    signature["gt_boxes"] = tf.TensorSpec([2, None, 4], tf.float32)
    for key in ("image_sizes", "original_sizes", "seeds"):
        signature[key] = tf.TensorSpec([2, 2], tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature).repeat()
    history = fit(compiled(name, small_model()), dataset, steps=3)
    assert all(np.isfinite(values[0]) for values in history.values())


def test_random_choices_do_not_depend_on_the_batch():
    """Two images in one batch are sampled as each of them alone."""
    model = small_model()
    batch = make_batch((3, 3))
    for name in STAGES:
        stage = compiled(name, model)
        together = stage(batch, training=True)["labels"].numpy()
        for row in range(2):
            alone = stage({key: value[row : row + 1] for key, value in batch.items()}, training=True)["labels"].numpy()
            width = min(together.shape[1], alone.shape[1])  # the mask stage leaves padding out
            np.testing.assert_array_equal(together[row, :width], alone[0, :width])
            assert (together[row, width:] == -1).all()
