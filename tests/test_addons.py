"""tensorflow-addons runs on Keras 2.15 only, so this file and test_compat.py alone may skip by Keras version."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import changed, endless, make_batch, small_model, snapshot

from keras_mrcnn import addons
from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.callbacks import StopOnNonFiniteLoss
from keras_mrcnn.training.checkpoint import restore_model, restore_optimizer, save_checkpoint
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.stages import BoxStage
from keras_mrcnn.training.weight_average import WeightAverage, take_average

needs_addons = pytest.mark.skipif(KERAS_3, reason="tensorflow-addons does not run on Keras 3")
INPUTS = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -1.0], [2.0, 1.0]], np.float32)
TARGETS = np.array([[1.0], [0.0], [-1.0], [2.0]], np.float32)
OPTIMIZERS = {**addons.ADDONS_OPTIMIZERS, **addons.ADDONS_WRAPPERS}


def fit_line(optimizer, callbacks=(), epochs=2):
    """Fits a linear model from zero weights and returns it with its History."""
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer, "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((INPUTS, TARGETS)).batch(4)
    return model, model.fit(data, epochs=epochs, verbose=0, callbacks=list(callbacks))


@needs_addons
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name):
    settings = {"inner": "Adam"} if name in addons.ADDONS_WRAPPERS else {}
    model, history = fit_line(addons.addons_optimizer(name, 0.05, **settings), epochs=4)
    losses = history.history["loss"]
    assert losses[0] == pytest.approx(1.5)  # mean of 1, 0, 1, 4: the weights start at zero
    assert losses[-1] < losses[0]
    assert type(model.optimizer).__name__ == OPTIMIZERS[name]


@needs_addons
def test_lookahead_steps_half_way_back_at_its_period():
    # With a period of 1, Lookahead takes half of each step of the optimizer that it wraps. Zero weights, so the
    # gradient of the mean square error is -2 * mean(x * y), and SGD at rate 0.1 steps to 0.2 * mean(x * y).
    optimizer = addons.addons_optimizer("lookahead", 0.1, inner="SGD", sync_period=1, slow_step_size=0.5)
    model, _ = fit_line(optimizer, epochs=1)
    expected = 0.5 * 0.2 * (INPUTS * TARGETS).mean(axis=0)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


@needs_addons
def test_settings_and_schedule_reach_the_optimizers():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.3, 0.1])
    optimizer = addons.addons_optimizer("novograd", schedule, beta_1=0.5, global_clipnorm=2.0)
    assert optimizer.beta_1 == 0.5
    assert optimizer.global_clipnorm == 2.0
    assert float(optimizer.learning_rate(0)) == pytest.approx(0.3)
    wrapper = addons.addons_optimizer("swa", 0.25, inner="SGD", inner_settings={"momentum": 0.75}, average_period=3)
    inner = wrapper.get_config()["optimizer"]["config"]
    assert (inner["learning_rate"], inner["momentum"]) == (0.25, 0.75)
    assert wrapper.get_config()["average_period"] == 3


@needs_addons
def test_clipping_set_on_a_wrapper_limits_the_step():
    optimizer = addons.addons_optimizer("moving_average", 1.0, global_clipnorm=0.01, average_decay=0.0)
    model, _ = fit_line(optimizer, epochs=1)
    step = np.concatenate([weight.ravel() for weight in model.get_weights()])
    assert np.linalg.norm(step) == pytest.approx(0.01, rel=1e-4)


@needs_addons
def test_callbacks_run_in_fit(capfd):
    _, history = fit_line("sgd", [addons.addons_callback("tqdm")])
    assert len(history.history["loss"]) == 2
    assert "Training" in "".join(capfd.readouterr())


@needs_addons
def test_refuses_to_wrap_what_is_no_optimizer():
    for inner in ("Nonsense", "Optimizer", "__doc__"):
        with pytest.raises(ValueError, match=f"lookahead cannot wrap '{inner}'; set inner"):
            addons.addons_optimizer("lookahead", inner=inner)


def step_of(settings, gradient, weight=2.0):
    """By how much the first step of a stage's optimizer changes two weights."""
    optimizer = make_optimizer(StageConfig(warmup_steps=0, milestones=(), **settings), 100)
    variable = tf.Variable([weight, weight])
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant(gradient), variable)])
    return variable.numpy() - weight


@needs_addons
@pytest.mark.parametrize("name", addons.ADDONS_WRAPPERS)
@pytest.mark.parametrize("inner", ["sgd", "adamw"])
def test_wrappers_step_as_the_optimizer_that_they_wrap(name, inner):
    common = {"learning_rate": 0.5, "weight_decay": 0.1, "clip_norm": 1.0}
    expected = step_of({"optimizer": inner, **common}, [3.0, 4.0])
    actual = step_of({"optimizer": name, "inner_optimizer": inner, **common}, [3.0, 4.0])
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    if inner == "sgd":  # clipped to a length of 1, and a tenth of 2 times the rate taken off
        np.testing.assert_allclose(actual, [-0.5 * (0.6 + 0.2), -0.5 * (0.8 + 0.2)], rtol=1e-5)


@needs_addons
@pytest.mark.parametrize("name", addons.ADDONS_OPTIMIZERS)
def test_weight_decay_and_clipping_reach_the_optimizers(name):
    plain = step_of({"optimizer": name, "learning_rate": 0.01, "weight_decay": 0.0}, [3.0, 4.0])
    decayed = step_of({"optimizer": name, "learning_rate": 0.01, "weight_decay": 0.5}, [0.0, 0.0])
    assert (plain < 0.0).all() and (decayed < 0.0).all()
    optimizer = make_optimizer(StageConfig(optimizer=name, clip_norm=2.0), 10)
    assert optimizer.global_clipnorm == 2.0


@needs_addons
def test_the_decay_of_a_wrapped_optimizer_follows_the_schedule():
    settings = StageConfig(optimizer="swa", learning_rate=0.5, weight_decay=0.1, warmup_steps=0, milestones=(0.5,))
    optimizer, variable = make_optimizer(settings, 2), tf.Variable([2.0])
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant([0.0]), variable)])
    np.testing.assert_allclose(variable.numpy(), [2.0 * (1 - 0.5 * 0.1) * (1 - 0.05 * 0.1)], rtol=1e-6)


@needs_addons
def test_further_settings_reach_the_optimizer_or_are_refused():
    settings = StageConfig(optimizer="lookahead", optimizer_settings={"sync_period": 3})
    assert make_optimizer(settings, 10).get_config()["sync_period"] == 3
    settings = StageConfig(optimizer="lamb", optimizer_settings={"sync_period": 3})
    with pytest.raises(ValueError, match="optimizer lamb does not take optimizer_settings sync_period: "):
        make_optimizer(settings, 10)


def stage_of(settings, seed=0):
    keras.utils.set_random_seed(seed)
    stage = BoxStage(small_model())
    stage.compile(make_optimizer(settings, 8), run_eagerly=True)
    return stage


def fit_stage(stage, steps=2, callbacks=()):
    stage.fit(endless(make_batch()), steps_per_epoch=steps, callbacks=list(callbacks), verbose=0)


@needs_addons
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stage_goes_on_from_a_checkpoint_to_the_bit(name, tmp_path):
    further = {"lookahead": {"sync_period": 3}, "swa": {"average_period": 2}}.get(name, {})
    settings = StageConfig(
        optimizer=name, learning_rate=1e-3, warmup_steps=3, schedule="cosine", clip_norm=1.0, optimizer_settings=further
    )
    stage = stage_of(settings)
    fit_stage(stage, callbacks=[StopOnNonFiniteLoss("box")])
    save_checkpoint(tmp_path / "checkpoint", stage, "box", 1)
    again = stage_of(settings, seed=1)
    restore_model(tmp_path / "checkpoint", again.mask_rcnn)
    restore_optimizer(tmp_path / "checkpoint", again)
    for one in (stage, again):
        fit_stage(one)
    before = snapshot(stage.mask_rcnn)
    assert changed(before, snapshot(again.mask_rcnn)) == set()
    for one in (stage, again):
        take_average(one)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()
    assert bool(changed(before, snapshot(stage.mask_rcnn))) == (name in ("swa", "moving_average"))


@needs_addons
def test_our_average_follows_their_optimizers():
    stage = stage_of(StageConfig(optimizer="lamb", learning_rate=1e-3))
    stage.weight_average = WeightAverage(stage, 0.9)
    fit_stage(stage, callbacks=[stage.weight_average])
    before = snapshot(stage.mask_rcnn)
    take_average(stage)
    assert changed(before, snapshot(stage.mask_rcnn))


@needs_addons
def test_a_stage_shows_their_bar(capfd):
    stage = stage_of(StageConfig())
    callbacks = [addons.addons_callback("tqdm")]
    stage.fit(endless(make_batch()), steps_per_epoch=1, epochs=2, callbacks=callbacks, verbose=0)
    shown = "".join(capfd.readouterr())
    assert "Epoch 1/2" in shown and "box_loss" in shown


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="no optimizer 'AdamW' here; choose one of novograd, lamb, lookahead, swa"):
        addons.addons_optimizer("AdamW")
    with pytest.raises(ValueError, match="no callback 'novograd' here; choose one of tqdm"):
        addons.addons_callback("novograd")


def test_refuses_inner_settings_where_nothing_is_wrapped():
    with pytest.raises(ValueError, match="lamb wraps no other optimizer; leave inner_settings out"):
        addons.addons_optimizer("lamb", inner_settings={"momentum": 0.9})


@pytest.mark.parametrize("error", [ImportError("no such module"), AttributeError("keras has no such name")])
def test_names_the_stack_where_addons_cannot_be_imported(monkeypatch, error):
    def fail(name):
        assert name == "tensorflow_addons"
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    sentence = "comes from tensorflow-addons, which cannot be imported here; install the addons stack .*requirements"
    with pytest.raises(ImportError, match="novograd " + sentence):
        addons.addons_optimizer("novograd")
    with pytest.raises(ImportError, match="tqdm " + sentence):
        addons.addons_callback("tqdm")


@pytest.mark.skipif(not KERAS_3, reason="tensorflow-addons is installed on the stack of Keras 2.15")
def test_on_keras_3_the_sentence_comes_without_a_stand_in():
    with pytest.raises(ImportError, match="install the addons stack"):
        addons.addons_optimizer("lamb")


def test_our_module_does_not_import_tensorflow_addons():
    program = "import sys, keras_mrcnn.addons; sys.exit('tensorflow_addons' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)
